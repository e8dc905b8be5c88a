"""Damage: never a wrong body or id; what a crash explains is cut, what it does not stops the start."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.recovery import JournalDamaged
from redqueue.journal.segment import HEADER_SIZE
from tests.journal.journaled_queues import Item, JournaledQueues, State, copy_journal, recover, recovered_state

Open = Callable[..., JournaledQueues]
BLOCK = 512

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@dataclass
class ThreeSegments:
    """A journal of three runs of the server, one segment each."""

    directory: Path
    contents: dict[int, bytes] = field(default_factory=dict)
    states: dict[int, list[tuple[int, State]]] = field(default_factory=dict)
    """End and state after each frame, by segment."""
    ever: set[tuple[bytes, Item]] = field(default_factory=set)
    """Every item that has ever been, as it has been."""

    def damaged(self, target: Path, number: int, content: bytes) -> Path:
        """A copy of the journal in which one segment has another content; returns that segment's path."""
        copy_journal(self.directory, target)
        path = seg.path_of(target, number)
        path.write_bytes(content)
        return path

    def frame_at(self, number: int, offset: int) -> tuple[int, State]:
        """Where the frame around ``offset`` begins, and the state before it."""
        return [entry for entry in self.states[number] if entry[0] <= offset][-1]


def write_three_segments(directory: Path, frames: int, body: Callable[[], bytes]) -> ThreeSegments:
    written = ThreeSegments(directory)
    for number in (1, 2, 3):
        queues = JournaledQueues(directory)
        written.states[number] = [(queues.end(), queues.state())]
        for i in range(frames):
            last = queues.put(b"jobs", body(), flags=i)
            queues.put(b"mail", body(), expires=2**62)
            if i % 2:
                queues.acknowledge(last - 2)
                if number > 1:
                    queues.rewrite(2, body())
            queues.flush()
            state = queues.state()
            written.states[number].append((queues.end(), state))
            written.ever.update((name, item) for name, items in state.items() for item in items)
        path = queues.path()
        queues.close()
        written.contents[number] = path.read_bytes()
    return written


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> ThreeSegments:
    chance = random.Random(2)
    return write_three_segments(tmp_path_factory.mktemp("small"), 3, lambda: chance.randbytes(chance.randrange(6)))


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> ThreeSegments:
    chance = random.Random(3)
    return write_three_segments(tmp_path_factory.mktemp("blocks"), 9, lambda: chance.randbytes(chance.randrange(500)))


def bit_flips(content: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def block_accidents(content: bytes) -> Iterator[bytes]:
    """Every block zeroed, every block written over every other, every pair swapped."""
    pieces = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    for i, piece in enumerate(pieces):
        yield b"".join([*pieces[:i], bytes(len(piece)), *pieces[i + 1 :]])
        for j, other in enumerate(pieces):
            if i != j:
                yield b"".join([*pieces[:i], other, *pieces[i + 1 :]])
            if i < j:
                swapped = pieces.copy()
                swapped[i], swapped[j] = other, piece
                yield b"".join(swapped)


def first_difference(a: bytes, b: bytes) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def assert_stops(path: Path, offset: int | None) -> None:
    with pytest.raises(JournalDamaged) as caught:
        recover(path.parent)
    message = str(caught.value)
    assert str(path) in message
    assert "--salvage" in message
    assert "backup" in message
    if offset is not None:
        assert re.search(rf"\boffset {offset}\b", message), (message, offset)


def assert_cut(path: Path, end: int, state: State, size: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    assert recovered_state(recover(path.parent)) == state
    messages = [entry.getMessage() for entry in caplog.records]
    assert messages == [f"torn tail: {path} is cut at offset {end}, dropping {size - end} bytes after it"]
    assert path.stat().st_size == end


# -- anywhere -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "journal", "accidents"),
    [(2, "small", bit_flips), (1, "blocks", block_accidents), (2, "blocks", block_accidents)],
)
def test_damage_in_an_earlier_segment_stops_the_start(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    number: int,
    journal: str,
    accidents: Callable[[bytes], Iterator[bytes]],
) -> None:
    written: ThreeSegments = request.getfixturevalue(journal)
    content = written.contents[number]
    copy_journal(written.directory, tmp_path / "copy")
    path = seg.path_of(tmp_path / "copy", number)
    tried = 0
    for damaged in accidents(content):
        at = first_difference(content, damaged)
        path.write_bytes(damaged)
        assert_stops(path, None if at < HEADER_SIZE else written.frame_at(number, at)[0])
        assert path.read_bytes() == damaged, "a start that is refused changes nothing"
        tried += 1
    assert tried > 50


@pytest.mark.parametrize(("journal", "accidents"), [("small", bit_flips), ("blocks", block_accidents)])
def test_damage_in_the_unsynced_last_segment_is_cut(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    journal: str,
    accidents: Callable[[bytes], Iterator[bytes]],
) -> None:
    caplog.set_level(logging.WARNING)
    written: ThreeSegments = request.getfixturevalue(journal)
    content = written.contents[3]
    copy_journal(written.directory, tmp_path / "copy")
    path = seg.path_of(tmp_path / "copy", 3)
    tried = 0
    for damaged in accidents(content):
        at = first_difference(content, damaged)
        path.write_bytes(damaged)
        if at < HEADER_SIZE:
            assert_stops(path, None)
        else:
            end, state = written.frame_at(3, at)
            if damaged[end:].strip(b"\0"):
                assert_cut(path, end, state, len(damaged), caplog)
            else:
                assert recovered_state(recover(path.parent)) == state
        tried += 1
    assert tried > 50


def test_a_cut_of_an_earlier_segment_inside_a_frame_stops_the_start(small: ThreeSegments, tmp_path: Path) -> None:
    content = small.contents[2]
    ends = {end for end, _ in small.states[2]}
    for cut in range(len(content)):
        if cut not in ends:
            path = small.damaged(tmp_path / "copy", 2, content[:cut])
            assert_stops(path, small.frame_at(2, cut)[0] if cut > HEADER_SIZE else None)


def test_a_segment_in_place_of_another_stops_the_start(small: ThreeSegments, tmp_path: Path) -> None:
    for number, other in ((1, 2), (2, 1), (3, 2)):
        assert_stops(small.damaged(tmp_path / "copy", number, small.contents[other]), None)


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 4096, b"more"])
def test_anything_behind_the_end_of_an_earlier_segment_stops_the_start(
    small: ThreeSegments, tmp_path: Path, extra: bytes
) -> None:
    assert_stops(small.damaged(tmp_path / "copy", 2, small.contents[2] + extra), len(small.contents[2]))


def test_a_missing_segment_stops_the_start(small: ThreeSegments, tmp_path: Path) -> None:
    directory = copy_journal(small.directory, tmp_path / "copy")
    seg.path_of(directory, 2).unlink()
    with pytest.raises(JournalDamaged, match=rf"segments 2 to 2 of the journal {directory} are missing.*--salvage"):
        recover(directory)


# -- what had been synced --------------------------------------------------------------


def frame_starts(states: list[tuple[int, State]]) -> list[int]:
    return [end for end, _ in states[:-1]]


def write_frames(queues: JournaledQueues, count: int) -> list[tuple[int, State]]:
    states = [(queues.end(), queues.state())]
    for i in range(count):
        queues.put(b"jobs", b"body %d" % i)
        queues.flush()
        states.append((queues.end(), queues.state()))
    return states


def spoil(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("zeros", [0, 5000])
def test_a_synced_frame_in_the_last_segment_stops_the_start(open_queues: Open, tmp_path: Path, zeros: int) -> None:
    (tmp_path / "original").mkdir()
    queues = open_queues(tmp_path / "original", sync=True)
    states = write_frames(queues, 4)
    path = queues.path()
    queues.close()
    path.write_bytes(path.read_bytes() + bytes(zeros))
    for offset in frame_starts(states)[:-1]:
        copied = copy_journal(queues.directory, tmp_path / "copy")
        spoil(copied / path.name, offset + 40)
        assert_stops(copied / path.name, offset)


def test_the_last_synced_frame_looks_like_a_torn_one(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No later frame tells that it had been synced."""
    queues = open_queues(sync=True)
    states = write_frames(queues, 4)
    path, size = queues.path(), queues.end()
    queues.close()
    spoil(path, frame_starts(states)[-1] + 40)
    assert_cut(path, *states[-2], size, caplog)


def test_a_hole_in_what_was_never_synced_is_cut(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A power failure may keep a later write and lose an earlier one."""
    queues = open_queues()
    states = write_frames(queues, 4)
    path, size = queues.path(), queues.path().stat().st_size
    queues.kill()
    spoil(path, frame_starts(states)[1])
    assert_cut(path, *states[1], size, caplog)
    assert recovered_state(recover(tmp_path)) == states[1][1]


def test_a_sync_protects_what_was_before_it_and_nothing_after(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "original").mkdir()
    queues = open_queues(tmp_path / "original")
    states = write_frames(queues, 3)
    assert queues.sync() is None
    states += write_frames(queues, 3)[1:]
    name, size = queues.path().name, queues.path().stat().st_size
    queues.kill()
    starts = frame_starts(states)
    for i, offset in enumerate(starts):
        copied = copy_journal(queues.directory, tmp_path / "copy")
        spoil(copied / name, offset + 33)
        if i < 3:
            assert_stops(copied / name, offset)
        else:
            assert_cut(copied / name, *states[i], size, caplog)


def test_what_was_synced_before_a_hole_of_several_frames_is_not_forgotten(open_queues: Open, tmp_path: Path) -> None:
    """Not the next good frame but a later one tells that the damaged one had been synced."""
    queues = open_queues()
    first = write_frames(queues, 3)
    assert queues.sync() is None
    write_frames(queues, 1)
    path = queues.path()
    queues.kill()
    spoil(path, frame_starts(first)[0])
    assert_stops(path, frame_starts(first)[0])


# -- frames that make no sense ----------------------------------------------------------


def test_an_earlier_segment_that_ends_too_soon_stops_the_start(tmp_path: Path) -> None:
    """Cut at the end of a frame it looks whole; the next segment knows better."""
    first = seg.encode_header(1, 1, 1, 0)
    frames = [first]
    for payload in (GOOD, rec.put(1, 2, 5, 0, b"more")):
        frames.append(frames[-1] + framing.encode_frame(1, len(frames[-1]), 1, 0, 1, payload))
    path = seg.path_of(tmp_path, 1)
    path.write_bytes(frames[2])
    seg.path_of(tmp_path, 2).write_bytes(seg.encode_header(2, 1, 3, len(frames[2])))
    assert len(recover(tmp_path).queues[b"jobs"]) == 2
    path.write_bytes(frames[1])
    with pytest.raises(JournalDamaged, match=f"{path} is {len(frames[1])} bytes long and was {len(frames[2])}"):
        recover(tmp_path)


def write_segment(directory: Path, number: int, payloads: list[bytes]) -> list[int]:
    """A segment of frames with good checksums; returns their offsets."""
    before = seg.path_of(directory, number - 1)
    content, offsets = seg.encode_header(number, 1, 1, before.stat().st_size if before.exists() else 0), []
    for payload in payloads:
        offsets.append(len(content))
        content += framing.encode_frame(number, len(content), 1, 0, 1, payload)
    seg.path_of(directory, number).write_bytes(content)
    return offsets


NAMED = rec.name(1, b"jobs")
GOOD = NAMED + rec.put(1, 1, 5, 0, b"body")
SENSELESS = [
    pytest.param(bytes([9]) + bytes(31), id="unknown kind"),
    pytest.param(bytes(16), id="kind 0"),
    pytest.param(rec.put(1, 2, 5, 0, b"body")[:-1], id="short payload"),
    pytest.param(rec.put(1, 2, 5, 0, b"body")[:20], id="half a head"),
    pytest.param(rec.put(1, 2, 5, 0, b"", 7)[:33], id="half an attribute"),
    pytest.param(rec.ack(bytes(8))[:-1], id="short ack"),
    pytest.param(bytes([rec.PUT]), id="a put's kind only"),
    pytest.param(bytes([rec.NAME]), id="a name's kind only"),
    pytest.param(rec.name(2, b"mail")[:-1], id="short name"),
    pytest.param(rec.drop(1, 9)[:-1], id="short drop"),
    pytest.param(rec.wipe(9)[:-1], id="short wipe"),
]


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("payload", SENSELESS)
def test_a_good_checksum_on_nonsense_stops_the_start(tmp_path: Path, payload: bytes, number: int) -> None:
    """A later version wrote it, or a defect did: cutting it off would lose it for good."""
    offsets = {each: write_segment(tmp_path, each, [GOOD, payload][: 1 + (each == number)]) for each in (1, 2)}
    assert_stops(seg.path_of(tmp_path, number), offsets[number][1])


@pytest.mark.parametrize("payload", SENSELESS)
def test_salvage_goes_on_after_nonsense(tmp_path: Path, caplog: pytest.LogCaptureFixture, payload: bytes) -> None:
    offsets = write_segment(tmp_path, 1, [GOOD, payload, rec.put(1, 7, 5, 0, b"later")])
    state = recovered_state(recover(tmp_path, salvage=True))
    assert [(item.item_id, item.payload) for item in state[b"jobs"]] == [(1, b"body"), (7, b"later")]
    assert f"offset {offsets[1]}" in caplog.text


def test_an_unknown_version_stops_the_start(tmp_path: Path) -> None:
    write_segment(tmp_path, 1, [GOOD])
    path = seg.path_of(tmp_path, 1)
    content = path.read_bytes()
    for version in (0, 2, 0xFFFF):
        path.write_bytes(content[:8] + version.to_bytes(2, "big") + content[10:])
        assert_stops(path, None)


def test_items_of_a_queue_without_a_name_stop_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_segment(tmp_path, 1, [GOOD, rec.put(77, 2, 5, 0, b"whose?")])
    with pytest.raises(JournalDamaged, match=r"1 items belong to a queue whose name is lost.*--salvage"):
        recover(tmp_path)
    state = recovered_state(recover(tmp_path, salvage=True))
    assert [item.payload for item in state[b"lost-name-77"]] == [b"whose?"]
    assert [item.payload for item in state[b"jobs"]] == [b"body"]
    assert "lost-name-77" in caplog.text


# -- salvage --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 3])
def test_salvage_never_invents_and_says_where(
    blocks: ThreeSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    content = blocks.contents[number]
    states = blocks.states[number]
    for at in range(HEADER_SIZE, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0xFF
        start, _ = blocks.frame_at(number, at)
        stop = next(end for end, _ in states if end > at)
        path = blocks.damaged(tmp_path / "copy", number, bytes(damaged))
        caplog.clear()
        state = recovered_state(recover(path.parent, salvage=True))
        for name, items in state.items():
            if not name.startswith(b"lost-name-"):
                assert {(name, item) for item in items} <= blocks.ever
            else:
                assert set(items) <= {item for _, item in blocks.ever}
        assert str(path) in caplog.text
        assert f"offset {start}" in caplog.text
        if number == 3:
            continue  # cut like any torn tail: nothing in it is known to have been synced
        lost = {item.item_id for items in new_items(states, start, stop).values() for item in items}
        kept = {item.item_id for items in state.values() for item in items}
        wanted = {item.item_id for items in blocks.states[3][-1][1].values() for item in items}
        assert wanted - lost <= kept, "what stands in good frames is there"


def new_items(states: list[tuple[int, State]], start: int, stop: int) -> State:
    """The items that came with the frame from ``start`` to ``stop``."""
    before = next(state for end, state in states if end == start)
    after = next(state for end, state in states if end == stop)
    return {name: [item for item in items if item not in before.get(name, [])] for name, items in after.items()}


def test_salvage_names_the_ids_that_may_be_missing(
    open_queues: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queues = open_queues()
    states = write_frames(queues, 4)
    queues.close()
    open_queues().close()
    path = seg.path_of(tmp_path, 1)
    spoil(path, states[2][0])
    recovered = recover(tmp_path, salvage=True)
    assert [item.item_id for item in recovered_state(recovered)[b"jobs"]] == [1, 2, 4]
    size = states[3][0] - states[2][0]
    assert f"{size} bytes of {path} skipped at offset {states[2][0]}; items with ids from 3 on" in caplog.text


@pytest.mark.parametrize("number", [1, 2, 3])
def test_salvage_goes_on_without_a_header(
    small: ThreeSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    content = small.contents[number]
    path = small.damaged(tmp_path / "copy", number, b"damaged!" + content[8:])
    assert recovered_state(recover(path.parent, salvage=True)) == small.states[3][-1][1]
    assert f"the header of {path} is damaged" in caplog.text


def test_salvage_goes_on_without_a_segment(
    small: ThreeSegments, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = copy_journal(small.directory, tmp_path / "copy")
    seg.path_of(directory, 2).unlink()
    queues = JournaledQueues(directory, salvage=True)
    assert "segments 2 to 2" in caplog.text
    state = queues.state()
    assert {(name, item) for name, items in state.items() for item in items} <= small.ever
    assert [(item_id, position >> 32) for item_id, position in queues.recovered.index.moved] == [(2, 3)]
    for item_id in list(queues.live):
        queues.acknowledge(item_id)
    queues.flush()
    assert queues.sync() is None
    assert queues.live_counts() == [(4, 0)], "one is missing and all the same each death is counted in its segment"
    queues.close()


def test_ids_are_not_given_twice_after_salvage(tmp_path: Path) -> None:
    """The frame of a PUT is lost, and a REWRITE of the item is not."""
    write_segment(tmp_path, 1, [GOOD, rec.replaced(rec.put(1, 40, 5, 0, b""), 1, b"rewritten", 0, 0)])
    assert recover(tmp_path, salvage=True).last_id == 40


def test_a_damaged_journal_can_be_used_after_salvage(small: ThreeSegments, tmp_path: Path) -> None:
    path = small.damaged(tmp_path / "copy", 1, small.contents[1])
    spoil(path, small.states[1][1][0])
    queues = JournaledQueues(path.parent, salvage=True)
    queues.put(b"jobs", b"after")
    queues.acknowledge(min(queues.live))
    queues.flush()
    state = queues.state()
    queues.kill()
    assert recovered_state(recover(path.parent, salvage=True)) == state
