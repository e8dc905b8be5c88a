"""Segment files: headers, frames, and the file that is appended to."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redqueue.journal import framing
from redqueue.journal import segment as seg
from redqueue.journal.framing import FRAME_SIZE
from redqueue.journal.segment import HEADER_SIZE, Segment

U64 = st.integers(0, 2**64 - 1)


def make_segment(directory: Path, number: int, size: int, time: int = 0, first_id: int = 1) -> Segment:
    segment = Segment(directory, seg.allocate_spare(directory, size), seg.Header(number, time, first_id, 0))
    segment.publish()
    return segment


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def decoded(data: bytes, number: int, offset: int) -> framing.Frame | None:
    return framing.decode_frame(memoryview(data), number, offset)


# -- headers ------------------------------------------------------------------


@given(U64, U64, U64, st.integers(0, 2**63 - 1), st.booleans())
def test_a_header_reads_back(number: int, time: int, first_id: int, previous_end: int, failed: bool) -> None:
    data = seg.encode_header(number, time, first_id, previous_end, failed)
    assert len(data) == HEADER_SIZE
    assert seg.decode_header(data + b"frames") == (number, time, first_id, previous_end, failed)


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    data = seg.encode_header(3, 1_700_000_000_000_000_000, 77, 4096)
    for bit in range(8 * len(data)):
        assert seg.decode_header(flipped(data, bit)) is None, bit


def test_a_short_header_is_none() -> None:
    data = seg.encode_header(3, 5, 77, 9)
    for size in range(len(data)):
        assert seg.decode_header(data[:size]) is None


# -- frames -------------------------------------------------------------------


@given(number=U64, gap=st.integers(0, 99), time=U64, durable=U64, count=st.integers(0, 2**32 - 1), payload=st.binary())
def test_a_frame_reads_back(number: int, gap: int, time: int, durable: int, count: int, payload: bytes) -> None:
    data = bytes(gap) + framing.encode_frame(number, gap, time, durable, count, payload) + b"behind"
    frame = decoded(data, number, gap)
    assert frame == (gap, gap + FRAME_SIZE + len(payload), count, time, durable, payload)


def test_every_flipped_bit_of_a_frame_is_noticed() -> None:
    data = bytes(HEADER_SIZE) + framing.encode_frame(3, HEADER_SIZE, 99, 7 << 32, 2, b"two records")
    assert decoded(data, 3, HEADER_SIZE) is not None
    for bit in range(8 * HEADER_SIZE, 8 * len(data)):
        for behind in (b"", b"\0" * 64, data[HEADER_SIZE:]):
            assert decoded(flipped(data, bit) + behind, 3, HEADER_SIZE) is None, bit


def test_a_frame_cut_short_is_none() -> None:
    data = framing.encode_frame(3, 0, 99, 0, 2, b"two records")
    for size in range(len(data)):
        assert decoded(data[:size], 3, 0) is None
        assert decoded(data[:size] + bytes(len(data)), 3, 0) is None


def test_a_frame_elsewhere_is_none() -> None:
    data = framing.encode_frame(3, 64, 99, 0, 2, b"two records")
    assert decoded(bytes(64) + data, 3, 64) is not None
    assert decoded(bytes(128) + data, 3, 128) is None, "another offset"
    assert decoded(data, 3, 0) is None, "another offset"
    assert decoded(bytes(64) + data, 4, 64) is None, "another segment"


def test_frames_end_at_the_first_that_is_not_good() -> None:
    data, offsets = bytes(HEADER_SIZE), []
    for payload in (b"one", b"", b"three"):
        offsets.append(len(data))
        data += framing.encode_frame(1, len(data), 0, 0, 1, payload)
    end = len(data)
    data += framing.encode_frame(1, end + 1, 0, 0, 1, b"moved")
    found = list(framing.frames(memoryview(data), 1, HEADER_SIZE))
    assert [(frame.offset, frame.payload) for frame in found] == list(
        zip(offsets, [b"one", b"", b"three"], strict=True)
    )
    assert found[-1].end == end


def test_find_frame_skips_what_only_looks_like_one() -> None:
    decoy = framing.encode_frame(1, 5, 0, 0, 1, b"moved") + b"RQF1" + b"RQRQF1RQF"
    data = bytes(13) + decoy
    first = len(data)
    data += framing.encode_frame(1, first, 0, 0, 1, b"first")
    second = len(data)
    data += framing.encode_frame(1, second, 0, 0, 1, b"second") + b"RQF"

    def found(offset: int) -> bytes | None:
        frame = framing.find_frame(data, memoryview(data), 1, offset)
        return frame and frame.payload

    assert found(0) == found(13) == found(14) == found(first) == b"first"
    assert found(first + 1) == found(second) == b"second"
    assert found(second + 1) is None
    assert framing.find_frame(data, memoryview(data), 2, 0) is None


def test_positions_grow_with_segment_and_offset() -> None:
    places = [(1, 40), (1, 2**31), (2, 40), (2, 41), (300, 0)]
    assert sorted(places) == sorted(places, key=lambda place: seg.position(*place))


# -- files --------------------------------------------------------------------


def test_segments_are_listed_by_number(tmp_path: Path) -> None:
    for number in (10**10, 2, 10, 1):
        seg.path_of(tmp_path, number).touch()
    for other in ("lock", "segment-1.rqj", "segment-0000000003.rqj.tmp", "xsegment-0000000003.rqj"):
        (tmp_path / other).touch()
    assert seg.list_segments(tmp_path) == [(n, seg.path_of(tmp_path, n)) for n in (1, 2, 10, 10**10)]


def test_a_new_segment_is_allocated_and_has_a_header(tmp_path: Path) -> None:
    segment = make_segment(tmp_path, 5, 4096, 99, 1000)
    assert segment.path == seg.path_of(tmp_path, 5)
    assert segment.path.stat().st_size == 4096
    assert segment.path.stat().st_blocks * 512 >= 4096, "the space is allocated, not a hole"
    assert seg.decode_header(segment.path.read_bytes()) == (5, 99, 1000, 0, False)
    assert segment.end == HEADER_SIZE
    segment.close()


def test_frames_are_appended_and_the_rest_is_given_back(tmp_path: Path) -> None:
    segment = make_segment(tmp_path, 5, 4096, 99, 1)
    segment.append(100, 7, 2, b"first")
    segment.append(101, 8, 1, b"second")
    segment.sync()
    assert segment.path.stat().st_size == 4096
    end = segment.end
    segment.finish()
    assert segment.path.stat().st_size == end == HEADER_SIZE + 2 * FRAME_SIZE + len(b"firstsecond")
    content = segment.path.read_bytes()
    found = list(framing.frames(memoryview(content), 5, HEADER_SIZE))
    assert [frame[2:] for frame in found] == [(2, 100, 7, b"first"), (1, 101, 8, b"second")]
    segment.append(102, 9, 1, b"third")
    content = segment.path.read_bytes()
    assert len(list(framing.frames(memoryview(content), 5, HEADER_SIZE))) == 3, "a finished segment still takes frames"
    fd = segment.fd
    segment.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_room_is_to_the_byte(tmp_path: Path) -> None:
    segment = make_segment(tmp_path, 1, 1024, 0, 1)
    segment.append(0, 0, 1, b"x")
    room = 1024 - segment.end - FRAME_SIZE
    assert segment.has_room(room)
    assert not segment.has_room(room + 1)
    segment.append(0, 0, 1, bytes(room))
    assert segment.end == 1024 == segment.path.stat().st_size
    assert not segment.has_room(0)
    segment.close()


def test_a_segment_grows_for_a_long_frame(tmp_path: Path) -> None:
    segment = make_segment(tmp_path, 1, 1024, 0, 1)
    body = os.urandom(5000)
    assert not segment.has_room(len(body))
    segment.append(0, 0, 1, body)
    assert not segment.has_room(0)
    segment.finish()
    segment.close()
    content = segment.path.read_bytes()
    assert len(content) == HEADER_SIZE + FRAME_SIZE + 5000
    assert [frame.payload for frame in framing.frames(memoryview(content), 1, HEADER_SIZE)] == [body]


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = make_segment(tmp_path, 1, 4096, 0, 1)
    with monkeypatch.context() as patched:
        patched.setattr(seg, "pwrite", lambda fd, data, offset: os.pwrite(fd, bytes(data)[:7], offset))
        segment.append(5, 6, 1, b"written in pieces of seven bytes")
    segment.append(7, 8, 1, b"the next")
    segment.finish()
    segment.close()
    content = segment.path.read_bytes()
    assert [frame.payload for frame in framing.frames(memoryview(content), 1, HEADER_SIZE)] == [
        b"written in pieces of seven bytes",
        b"the next",
    ]


def test_a_failed_write_leaves_the_segment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = make_segment(tmp_path, 1, 4096, 0, 1)
    segment.append(0, 0, 1, b"before")
    end = segment.end

    def half(fd: int, data: bytes, offset: int) -> int:
        if offset > end:
            raise OSError(errno.ENOSPC, "no space")
        return os.pwrite(fd, bytes(data)[: len(data) // 2], offset)

    with monkeypatch.context() as patched:
        patched.setattr(seg, "pwrite", half)
        with pytest.raises(OSError, match="no space"):
            segment.append(0, 0, 1, b"a long frame of which only the first half is written")
    assert segment.end == end
    segment.append(0, 0, 1, b"after")
    segment.close()
    content = segment.path.read_bytes()
    assert [frame.payload for frame in framing.frames(memoryview(content), 1, HEADER_SIZE)] == [b"before", b"after"]


def test_a_failed_sync_is_never_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk may be waited out; pages that a sync has lost may not."""

    def fail(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    segment = make_segment(tmp_path, 1, 4096, 0, 1)
    with monkeypatch.context() as patched:
        patched.setattr(seg, "_datasync", fail)
        for attempt in (segment.sync, segment.finish):
            with pytest.raises(OSError, match="no space") as caught:
                attempt()
            assert caught.value.errno == errno.EIO
    segment.close()


def failing(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize(
    "target",
    ["redqueue.journal.segment._allocate", "redqueue.journal.segment.pwrite", "os.fsync", "os.posix_fallocate"],
)
def test_a_segment_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    open_files = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setattr(target, failing)
        with pytest.raises(OSError, match="no space"):
            make_segment(tmp_path, 1, 4096, 0, 1)
    assert list(tmp_path.iterdir()) == []
    assert os.listdir("/proc/self/fd") == open_files
    segment = make_segment(tmp_path, 1, 4096, 0, 1)
    segment.close()


def test_a_directory_that_cannot_be_synced_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(seg, "sync_directory", failing)
        with pytest.raises(OSError, match="no space"):
            make_segment(tmp_path, 1, 4096, 0, 1)
    assert list(tmp_path.iterdir()) == []


def test_no_segment_is_written_over(tmp_path: Path) -> None:
    seg.path_of(tmp_path, 1).write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        make_segment(tmp_path, 1, 4096, 0, 1)
    assert seg.path_of(tmp_path, 1).read_bytes() == b"precious"


def test_no_segment_without_its_directory(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_segment(tmp_path / "missing", 1, 4096, 0, 1)


def test_a_spare_file_that_is_a_segment_already_is_left_alone(tmp_path: Path) -> None:
    """A crash between the two steps of giving the file its name leaves it with both."""
    segment = make_segment(tmp_path, 5, 4096)
    segment.append(1, 0, 1, b"precious")
    segment.close()
    content = segment.path.read_bytes()
    os.link(segment.path, tmp_path / seg.SPARE)
    after = make_segment(tmp_path, 6, 4096)
    after.close()
    assert segment.path.read_bytes() == content
    assert not after.path.samefile(segment.path)
    assert not (tmp_path / seg.SPARE).exists()
