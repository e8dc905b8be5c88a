"""Where items stand: the sorted map and the index of segments, against a dict."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.journal.index import MAX_GAP, Index, PositionMap, SegmentEntry

FEW_IDS = st.integers(1, 40)
IDS = st.one_of(FEW_IDS, st.integers(0, 2**64 - 1))
POSITIONS = st.integers(1, 2**64 - 1)


@given(st.lists(st.one_of(st.tuples(IDS, POSITIONS), IDS), max_size=80))
def test_a_position_map_is_a_sorted_dict(changes: list[tuple[int, int] | int]) -> None:
    positions, model = PositionMap(), dict[int, int]()
    for change in changes:
        if isinstance(change, tuple):
            positions.set(*change)
            model[change[0]] = change[1]
        else:
            assert positions.pop(change) == model.pop(change, 0)
        assert len(positions) == len(model)
    assert list(positions) == sorted(model.items())
    for item_id in [*model, 0, 5, 41]:
        assert positions.get(item_id) == model.get(item_id, 0)


@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_a_position_map_of_many_chunks(order: str) -> None:
    ids = list(range(10, 40_010, 10))
    if order == "down":
        ids.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(ids)
    positions = PositionMap()
    for item_id in ids:
        positions.set(item_id, item_id + 1)
    assert list(positions) == [(i, i + 1) for i in range(10, 40_010, 10)]
    for item_id in ids[::2]:
        assert positions.pop(item_id) == item_id + 1
        assert positions.pop(item_id) == 0
    assert sorted(ids[1::2]) == [item_id for item_id, _ in positions]
    seen, after = [], -1
    while chunk := positions.chunk_after(after):
        seen += [i for i in chunk[0] if i > after]
        after = chunk[0][-1]
    assert seen == sorted(ids[1::2])
    for item_id in ids[1::2]:
        positions.pop(item_id)
    assert not positions
    assert positions.chunk_after(-1) is None


class Modelled:
    """An index, and a dict of where each item stands."""

    def __init__(self) -> None:
        self.index = Index()
        self.model: dict[int, int] = {}
        self.last_id = 0
        self.offset = 0
        self.begin_segment()

    def begin_segment(self) -> None:
        number = self.index.segments[-1].number + 1 if self.index.segments else 7
        self.entry = SegmentEntry(number, Path(str(number)), self.last_id + 1, 0)
        self.index.add_segment(self.entry)
        self.offset = 48

    def next_offset(self) -> int:
        self.offset += 100
        return self.offset

    def put(self, gap: int, count: int) -> None:
        self.last_id += gap
        offsets = [self.next_offset() for _ in range(count)]
        self.index.add_run(self.entry, self.last_id + 1, iter(offsets), count)
        for offset in offsets:
            self.last_id += 1
            self.model[self.last_id] = self.entry.number << 32 | offset

    def move(self, item_id: int) -> None:
        offset = self.next_offset()
        self.index.move(item_id, self.entry, offset)
        self.model[item_id] = self.entry.number << 32 | offset

    def check(self) -> None:
        for item_id in {*self.model, *range(self.last_id + 3)} if self.last_id < 500 else self.model:
            assert self.index.position(item_id) == self.model.get(item_id, 0), item_id
        counts = [entry.live for entry in self.index.segments]
        assert counts == [
            sum(position >> 32 == entry.number for position in self.model.values()) for entry in self.index.segments
        ]
        self.index.count_live()
        assert counts == [entry.live for entry in self.index.segments]
        assert self.index.highest_id() == max(self.model, default=0)


CHANGES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([0, 0, 0, 1, 5, MAX_GAP, MAX_GAP + 1]), st.integers(1, 5)),
    st.tuples(st.just("move"), st.integers(0, 50)),
    st.tuples(st.just("bury"), st.integers(0, 50)),
    st.tuples(st.just("segment")),
    st.tuples(st.just("remove")),
    st.tuples(st.just("clear"), st.integers(0, 50)),
)


@settings(deadline=None)
@given(st.lists(CHANGES, max_size=30))
def test_an_index_is_a_dict(changes: list[tuple[object, ...]]) -> None:
    modelled = Modelled()
    for kind, *arguments in changes:
        alive = sorted(modelled.model)
        if kind == "put":
            modelled.put(*arguments)  # type: ignore[arg-type]
        elif kind == "segment":
            modelled.begin_segment()
        elif kind == "remove":
            if len(modelled.index.segments) > 1 and modelled.index.segments[0].live == 0:
                modelled.index.remove_oldest()
        elif alive:
            item_id = alive[arguments[0] % len(alive)]  # type: ignore[operator]
            if kind == "move":
                modelled.move(item_id)
            elif kind == "bury":
                assert modelled.index.bury(item_id)
                assert not modelled.index.bury(item_id)
                del modelled.model[item_id]
            else:
                modelled.index.clear_below(item_id)
                modelled.model = {i: p for i, p in modelled.model.items() if i >= item_id}
        modelled.check()


def test_a_gap_costs_four_bytes_an_id_and_a_great_one_nothing() -> None:
    modelled = Modelled()
    modelled.put(0, 1)
    modelled.put(MAX_GAP, 1)
    assert len(modelled.entry.offsets) == MAX_GAP + 2
    modelled.put(MAX_GAP + 1, 1)
    modelled.put(2**60, 1)
    assert len(modelled.entry.offsets) == MAX_GAP + 2
    modelled.check()
