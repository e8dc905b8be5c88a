"""A disk that is really full: a small tmpfs, which takes root or sudo to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until

pytestmark = pytest.mark.extra

REFUSED = b"SERVER_ERROR out of memory storing object"


def as_root(*command: str) -> None:
    """Run a command as root.

    :raises AssertionError: where that is impossible, with what to do
    """
    sudo = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
    done = subprocess.run([*sudo, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.stderr.strip()}\nThe tests of a full disk mount a tmpfs: run them as root, or as "
        f"somebody who may sudo without a password, where mount(8) is allowed (in Docker: --cap-add SYS_ADMIN)"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    as_root("mount", "-t", "tmpfs", "-o", f"size=8m,uid={os.geteuid()}", "tmpfs", str(path))
    try:
        yield path
    finally:
        as_root("umount", "--lazy", str(path))


def fill(wire: Wire, size: int) -> list[bytes]:
    """Put items until one is refused; returns the bodies of the others."""
    bodies: list[bytes] = []
    while True:
        body = b"%d " % len(bodies) + b"." * size
        answer = wire.put(b"q", body)
        if answer != b"STORED":
            assert answer == REFUSED
            return bodies
        bodies.append(body)
        assert len(bodies) * size < 8 << 20, "more than the disk has"


def take(wire: Wire) -> bytes:
    """Take and acknowledge one item."""
    body = wire.get(b"q")[0][2]
    assert wire.ask(b"delete q") == b"DELETED"
    return body


def unsaid(path: Path) -> list[str]:
    """Files that are neither segments nor the lock."""
    return [file.name for file in path.iterdir() if file.name != "lock" and not file.name.startswith("segment-")]


@pytest.mark.parametrize("reliable", ["yes", "sync"])
@pytest.mark.parametrize("segment_size", ["64kb", "64mb"])
@pytest.mark.parametrize("memory", ["100kb", "256mb"])
def test_a_full_disk(small_disk: Path, segment_size: str, reliable: str, memory: str) -> None:
    """Sets are refused; every item stored before is delivered and acknowledged; then sets are taken again."""
    log = small_disk / "log"
    options = {"reliable": reliable, "segment_size": segment_size, "memory": memory, "sync_interval": "50ms"}
    with ServerProcess(log, **options) as server, server.connect() as wire:
        bodies = fill(wire, 20_000)
        assert len(bodies) > 50
        assert "disk is full" in wire.stats()["health"]
        wait_until(lambda: "the journal's disk is full" in server.log, what="the line in the log")
        assert unsaid(log) == []
        for body in bodies[:5]:
            assert take(wire) == body
        server.kill()
        server.start()  # on the full disk
        with server.connect() as again:
            assert unsaid(log) == []
            for body in bodies[5:]:
                assert take(again) == body
            assert again.get(b"q") == []
            wait_until(lambda: again.put(b"q", b"fine") == b"STORED", what="room")
            wait_until(lambda: again.stats()["health"] == "ok", what="health")
            assert take(again) == b"fine"
            more = fill(again, 20_000)
            assert len(more) > len(bodies) // 2, "the space of what was acknowledged is there again"
            for body in more:
                assert take(again) == body
            assert again.stats()["curr_items"] == "0"
        assert "Traceback" not in server.log
        assert server.stop() == 0


def test_sets_are_taken_again_while_the_server_runs(small_disk: Path) -> None:
    """Somebody else makes room, then the acknowledgements do."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(6 << 20))
    with ServerProcess(small_disk / "log", segment_size="64kb") as server, server.connect() as wire:
        bodies = fill(wire, 3_000)
        ballast.unlink()
        wait_until(lambda: wire.stats()["health"] == "ok", what="room")
        bodies += fill(wire, 3_000)
        for _ in bodies[: len(bodies) // 2]:
            take(wire)
        wait_until(lambda: wire.put(b"other", b"fine") == b"STORED", what="room")


def test_a_large_item_that_does_not_fit_leaves_nothing_behind(small_disk: Path) -> None:
    """It would be longer than a segment, which would grow: what was written of it must not keep the disk full."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(7 << 20))
    with ServerProcess(small_disk / "log", segment_size="64kb") as server, server.connect() as wire:
        assert wire.put(b"q", b"." * (1 << 20)) == REFUSED
        assert wire.put(b"q", b"small") in (b"STORED", REFUSED)
        wait_until(lambda: wire.put(b"q", b"small") == b"STORED", what="room for small items")
        used = sum(file.stat().st_blocks * 512 for file in (small_disk / "log").iterdir())
        assert used < 300_000


def test_a_disk_too_full_to_start(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    server = ServerProcess(small_disk / "log")
    server.launch()
    assert server.wait() == 1
    server.says("No space left on device")
    assert "Traceback" not in server.log
    ballast.unlink()
    with ServerProcess(small_disk / "log") as server, server.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"
