"""Reading items back from their segments."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redqueue.journal import record as rec
from redqueue.journal.fetch import UnreadableItem, fetch
from tests.journal.journaled_queues import JournaledQueues, recover


def written(directory: Path, sizes: list[int]) -> tuple[dict[int, bytes], list[tuple[int, int]]]:
    """A journal with items of these sizes; returns their records and (id, position)."""
    queues = JournaledQueues(directory)
    for i, size in enumerate(sizes):
        queues.put(b"jobs", os.urandom(size), flags=i, expires=i % 2 and 2**62)
        if i % 3 == 0:
            queues.flush()
    queues.flush()
    queues.kill()
    index = recover(directory).index
    records = {item_id: record for item_id, (_, record) in queues.live.items()}
    return records, [(item_id, index.position(item_id)) for item_id in records]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from([0, 1, 100, 5000, 70_000]), min_size=1, max_size=25), st.integers(0, 99))
def test_any_items_in_any_order(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int) -> None:
    directory = tmp_path_factory.mktemp("journal")
    records, places = written(directory, sizes)
    assert fetch(directory, places) == [records[item_id] for item_id, _ in places]
    random.Random(seed).shuffle(places)
    some = places[: len(places) // 2 + 1]
    assert fetch(directory, some) == [records[item_id] for item_id, _ in some]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    _, places = written(tmp_path, [10, 20, 30])
    (first, where), (second, _), _ = places
    with pytest.raises(UnreadableItem, match=f"does not have the item {second} at offset {where & 0xFFFFFFFF}"):
        fetch(tmp_path, [(second, where)])
    with pytest.raises(UnreadableItem, match="has no item at offset"):
        fetch(tmp_path, [(first, where + 1)])
    with pytest.raises(UnreadableItem, match="has no item at offset"):
        fetch(tmp_path, [(first, where + (1 << 30))])
    with pytest.raises(FileNotFoundError):
        fetch(tmp_path, [(first, where + (9 << 32))])


def test_an_item_cut_short_is_said(tmp_path: Path) -> None:
    _, places = written(tmp_path, [6000])
    (segment,) = tmp_path.glob("segment-*")
    os.truncate(segment, (places[0][1] & 0xFFFFFFFF) + 5000)
    with pytest.raises(UnreadableItem, match="ends in the middle"):
        fetch(tmp_path, places)


def test_members_of_a_fan_out(tmp_path: Path) -> None:
    queues = JournaledQueues(tmp_path)
    numbers = [queues.log.open_queue(name) for name in (b"a", b"b", b"c")]
    records = [rec.put(number, 1 + i, 5, 9, b"payload", 2**62) for i, number in enumerate(numbers)]
    queues.log.put_together(records)
    queues.log.put(rec.put(numbers[1], 4, 6, 0, b"alone"))
    assert queues.log.write()
    assert queues.log.live_items == 4
    assert queues.log.live_bytes == sum(map(len, records)) + 32 + 5
    places = [(i, queues.log.index.position(i)) for i in (3, 1, 2, 4)]
    assert fetch(tmp_path, places)[:3] == [records[2], records[0], records[1]]
    assert sum(record.count(b"payload") for record in [next(tmp_path.glob("segment-*")).read_bytes()]) == 1
    queues.kill()
    found = recover(tmp_path)
    assert {name: [*queue.ids] for name, queue in found.queues.items()} == {b"a": [1], b"b": [2, 4], b"c": [3]}
    assert found.last_id == 4
    assert found.live_bytes == queues.log.live_bytes
