"""Journals that a real server has written, for the commands to read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from tests.cli.live import Live
from tests.server_process import ServerProcess


@pytest.fixture(scope="session")
def _life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("life") / "journal"
    with ServerProcess(directory, prefetch=10) as server, server.connect() as wire:
        for i in range(5):
            assert wire.put(b"jobs", b"item %d" % i, flags=i) == b"STORED"
        assert wire.put(b"jobs", b"first", verb=b"prepend", exptime=100_000) == b"STORED"
        assert wire.put(b"count", b"41") == b"STORED"
        assert wire.ask(b"incr count 1") == b"42"
        assert wire.get(b"jobs")[0][2] == b"first"
        assert wire.get(b"jobs")[0][2] == b"item 0"
        assert wire.ask(b"delete jobs") == b"DELETED"
        assert wire.put(b"gone", b"flushed") == b"STORED"
        assert wire.ask(b"flush gone") == b"OK"
        assert wire.put("café".encode(), b"\x00\x1b[2J\xff\r\n\\") == b"STORED"
        assert wire.put(b"odd\xff/name", "crème brûlée ☕".encode()) == b"STORED"
        server.stop()
    return directory


@pytest.fixture
def life(_life: Path, tmp_path: Path) -> Path:
    """A journal with a bit of everything.

    Queues: jobs (items 1 to 4, ids 2 to 5; id 6 first in line was acknowledged), count (id 7, 42), gone (flushed),
    café (binary), odd\\xff/name (text).
    """
    return Path(shutil.copytree(_life, tmp_path / "journal"))


@pytest.fixture(scope="module")
def _live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("live") / "journal") as server:
        yield server


@pytest.fixture
def live(_live: Live) -> Live:
    """A running server with nothing in it."""
    _live.empty()
    with _live.connect() as wire:
        while names := [name for name in wire.stats(b"brief 0 1000") if "%20" not in name and "%0D" not in name]:
            for name in names:
                assert wire.ask(b"drop " + unquote_to_bytes(name)) == b"OK"
    return _live
