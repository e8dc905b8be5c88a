"""``redqueue journal verify``: its exit status is what a start of the server would come to."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from redqueue.journal import framing
from redqueue.journal import segment as seg
from tests.cli.tool import contents, flip, overwrite, redqueue
from tests.server_process import ServerProcess, run_server


@pytest.fixture(scope="module")
def _segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("segments") / "journal"
    chance = random.Random(6)
    with ServerProcess(directory, segment_size="64kb") as server, server.connect() as wire:
        for _ in range(400):
            assert wire.put(b"jobs", chance.randbytes(chance.randrange(1000))) == b"STORED"
        server.stop()
    assert len(seg.list_segments(directory)) >= 3
    return directory


@pytest.fixture
def segments(_segments: Path, tmp_path: Path) -> Path:
    """A journal of three segments and more, of a server that was stopped."""
    return Path(shutil.copytree(_segments, tmp_path / "journal"))


def path(directory: Path, index: int) -> Path:
    return seg.list_segments(directory)[index][1]


def swap(file: Path) -> None:
    data = file.read_bytes()
    overwrite(file, 8192, data[12288:16384])
    overwrite(file, 12288, data[8192:12288])


ACCIDENTS: dict[str, tuple[int, Callable[[Path], object]]] = {
    "nothing": (0, lambda d: None),
    "a bit in the first segment": (1, lambda d: flip(path(d, 0), 5000)),
    "a bit in the last frame": (0, lambda d: flip(path(d, -1), path(d, -1).stat().st_size - 1)),
    "a bit in a header": (1, lambda d: flip(path(d, 1), 30)),
    "the last segment cut": (0, lambda d: os.truncate(path(d, -1), path(d, -1).stat().st_size - 10)),
    "the last segment cut to its header": (0, lambda d: os.truncate(path(d, -1), 48)),
    "the last segment empty": (0, lambda d: os.truncate(path(d, -1), 0)),
    "an earlier segment cut": (1, lambda d: os.truncate(path(d, 0), 10_000)),
    "an earlier segment cut between frames": (1, lambda d: os.truncate(path(d, 0), second_frame(path(d, 0)))),
    "zeros in an earlier segment": (1, lambda d: overwrite(path(d, 1), 4096, bytes(4096))),
    "blocks swapped": (1, lambda d: swap(path(d, 0))),
    "a segment missing": (1, lambda d: path(d, 1).unlink()),
    "two segments exchanged": (1, lambda d: exchange(path(d, 0), path(d, 1))),
}


def second_frame(file: Path) -> int:
    with file.open("rb") as opened:
        data = opened.read()
    frame = framing.decode_frame(memoryview(data), 1, seg.HEADER_SIZE)
    assert frame is not None
    return frame.end


def exchange(a: Path, b: Path) -> None:
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_it_says_what_a_start_of_the_server_says(segments: Path, tmp_path: Path, accident: str) -> None:
    status, happen = ACCIDENTS[accident]
    happen(segments)
    before = contents(segments)
    done = redqueue("journal", "verify", segments)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    assert done.stdout.splitlines()[-1].startswith("damaged" if status else "good")
    report = json.loads(redqueue("journal", "verify", segments, "--json").stdout)
    assert report["result"] == ("damaged" if status else "good")
    assert any(finding["damage"] for finding in report["findings"]) == bool(status)
    assert contents(segments) == before
    if status:
        started = run_server(f"--logdir={segments}", "--port=0")
        assert started.returncode == 1
        assert "does not start" in started.stderr
    else:
        with ServerProcess(segments) as server, server.connect() as wire:
            assert int(wire.stats()["curr_items"]) == report["items"]
            assert ("torn tail" in server.log) == bool(report["findings"])


def test_what_it_counts(segments: Path) -> None:
    report = json.loads(redqueue("journal", "verify", segments, "--json").stdout)
    found = seg.list_segments(segments)
    assert report["segments"] == len(found)
    assert report["bytes"] == sum(file.stat().st_size for _, file in found)
    assert (report["items"], report["queues"], report["last_id"], report["frames"]) == (400, 1, 400, 400)
    assert report["records"] == 400 + len(found)
    assert report["server"] is None


def test_a_journal_in_use(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, server.connect() as wire:
        wire.put(b"jobs", b"item")
        before = sorted(tmp_path.iterdir())
        done = redqueue("journal", "verify", tmp_path)
        assert done.returncode == 0
        assert f"in use by the server with process id {server.process.pid}" in done.stdout
        assert "1 items in 1 queues" in done.stdout
        assert json.loads(redqueue("journal", "verify", tmp_path, "--json").stdout)["server"] == server.process.pid
        assert sorted(tmp_path.iterdir()) == before
        wire.put(b"jobs", b"item")
        assert wire.stats()["curr_items"] == "2"


def test_what_cannot_be_said(tmp_path: Path) -> None:
    for directory, reason in ((tmp_path, "is no journal"), (tmp_path / "missing", "is no directory")):
        done = redqueue("journal", "verify", directory)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_opened(segments: Path) -> None:
    file = path(segments, 0)
    file.unlink()
    file.mkdir()
    done = redqueue("journal", "verify", segments)
    assert done.returncode == 2
    assert "directory" in done.stderr
