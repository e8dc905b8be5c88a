"""Deadlines: fired once, in order, at their moment, without growing."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from redqueue.engine.deadlines import Deadlines


class Alarm:
    def __init__(self, fired: list[Alarm]) -> None:
        self.deadline: float | None = None
        self._fired = fired

    def expire(self, now: float) -> None:
        assert self.deadline is None
        self._fired.append(self)


def test_fires_what_is_due_in_order() -> None:
    fired: list[Alarm] = []
    deadlines = Deadlines()
    late, early, middle = Alarm(fired), Alarm(fired), Alarm(fired)
    deadlines.set(late, 3.0)
    deadlines.set(early, 1.0)
    deadlines.set(middle, 2.0)
    assert deadlines.earliest() == 1.0
    assert not deadlines.fire(2.0)
    assert fired == [early, middle]
    assert deadlines.earliest() == 3.0
    assert len(deadlines) == 1


def test_a_new_deadline_replaces_the_old_one_either_way() -> None:
    fired: list[Alarm] = []
    deadlines = Deadlines()
    alarm = Alarm(fired)
    deadlines.set(alarm, 5.0)
    deadlines.set(alarm, 9.0)
    deadlines.fire(8.0)
    assert fired == []
    deadlines.set(alarm, 8.5)
    deadlines.fire(8.6)
    deadlines.fire(100.0)
    assert fired == [alarm]
    assert deadlines.earliest() == math.inf


def test_a_cleared_deadline_never_fires() -> None:
    fired: list[Alarm] = []
    deadlines = Deadlines()
    alarm = Alarm(fired)
    deadlines.set(alarm, 1.0)
    deadlines.clear(alarm)
    deadlines.clear(alarm)
    deadlines.fire(2.0)
    assert fired == []
    assert len(deadlines) == 0


def test_tells_the_owner_of_the_timer_only_what_is_earlier() -> None:
    told: list[float] = []
    deadlines = Deadlines(told.append)
    for when in (10.0, 20.0, 5.0, 7.0):
        deadlines.set(Alarm([]), when)
    assert told == [10.0, 5.0]


def test_at_most_so_many_at_a_time() -> None:
    fired: list[Alarm] = []
    deadlines = Deadlines()
    for _ in range(25):
        deadlines.set(Alarm(fired), 1.0)
    assert deadlines.fire(1.0, most=10)
    assert len(fired) == 10
    assert deadlines.fire(1.0, most=10)
    assert not deadlines.fire(1.0, most=10)
    assert len(fired) == 25


def test_stale_entries_do_not_pile_up() -> None:
    deadlines = Deadlines()
    for number in range(100_000):
        alarm = Alarm([])
        deadlines.set(alarm, 300.0 + number)
        deadlines.clear(alarm)
    assert len(deadlines._heap) < 2_000


@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["set", "clear", "fire"]), st.integers(1, 50)), max_size=60)
)
def test_against_a_dict(steps: list[tuple[int, str, int]]) -> None:
    fired: list[Alarm] = []
    deadlines = Deadlines()
    alarms = [Alarm(fired) for _ in range(10)]
    model: dict[Alarm, float] = {}
    for index, action, number in steps:
        alarm = alarms[index]
        if action == "set":
            deadlines.set(alarm, float(number))
            model[alarm] = float(number)
        elif action == "clear":
            deadlines.clear(alarm)
            model.pop(alarm, None)
        else:
            fired.clear()
            deadlines.fire(float(number))
            due = {a for a, when in model.items() if when <= number}
            assert set(fired) == due
            assert len(fired) == len(due)
            assert [model[a] for a in fired] == sorted(model[a] for a in fired)
            for a in due:
                del model[a]
        assert len(deadlines) == len(model)
        assert deadlines.earliest() == min(model.values(), default=math.inf)
