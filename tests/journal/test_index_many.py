"""Where items stand: what is done to many at once is what would be done to each."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from redqueue.journal.index import Index, PositionMap, SegmentEntry

IDS = st.integers(1, 4000)


@given(st.sets(IDS), st.integers(1, 3000), st.integers(0, 1500), IDS)
def test_a_position_map_without_the_lower_ids(few: set[int], first: int, count: int, below: int) -> None:
    due = {item_id: 7 * item_id for item_id in {*few, *range(first, first + count)}}
    positions = PositionMap()
    for item_id, position in due.items():
        positions.set(item_id, position)
    positions.drop_below(below)
    due = {item_id: position for item_id, position in due.items() if item_id >= below}
    assert [*positions] == sorted(due.items())
    assert len(positions) == len(due)
    assert [positions.get(item_id) for item_id in due] == [*due.values()]
    positions.set(below - 1, 1)
    assert [*positions] == [(below - 1, 1), *sorted(due.items())]


def index_of(dead: set[int], moved: set[int]) -> Index:
    """Three segments with the items 1 to 30, 41 to 70 and 71 to 80, without the dead; some were moved to the last."""
    index = Index()
    for number, ids in ((5, range(1, 31)), (6, range(41, 71)), (7, range(71, 81))):
        entry = SegmentEntry(number, Path(), ids.start, 0)
        index.add_segment(entry)
        for item_id in ids:
            index.add(entry, item_id, 100 * item_id)
    for item_id in sorted(moved):
        index.move(item_id, index.segments[-1], 10_000 + item_id)
    for item_id in sorted(dead):
        index.bury(item_id)
    return index


EXISTING = st.sampled_from([*range(1, 31), *range(41, 81)])


@given(st.sets(EXISTING), st.sets(EXISTING, max_size=3), st.lists(st.integers(0, 90)), st.booleans())
def test_the_positions_of_many(dead: set[int], moved: set[int], ids: list[int], in_order: bool) -> None:
    index = index_of(dead, moved)
    if in_order:
        ids.sort()
    assert index.positions(ids) == [index.position(item_id) for item_id in ids]


@given(st.sets(EXISTING), st.sets(EXISTING), st.integers(1, 90))
def test_what_is_cleared_at_once(dead: set[int], moved: set[int], below: int) -> None:
    one, other = index_of(dead, moved), index_of(dead, moved)
    one.clear_below(below)
    for item_id in range(1, below):
        other.bury(item_id)
    assert [one.position(item_id) for item_id in range(90)] == [other.position(item_id) for item_id in range(90)]
    assert [entry.live for entry in one.segments] == [entry.live for entry in other.segments]
