"""The journal's directory is removed or renamed under a running server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, wait_until

WORDS = "the journal's directory or file has been removed or renamed"
REFUSED = b"SERVER_ERROR out of memory storing object"


@pytest.mark.parametrize("reliable", ["yes", "sync"])
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_it_is_said_and_nothing_more_is_taken(tmp_path: Path, how: str, reliable: str) -> None:
    log = tmp_path / "log"
    with ServerProcess(log, reliable=reliable) as server, server.connect() as wire:
        assert wire.put(b"q", b"before") == b"STORED"
        if how == "removed":
            shutil.rmtree(log)
        else:
            log.rename(tmp_path / "elsewhere")
        wait_until(lambda: WORDS in wire.stats()["health"], seconds=5, what="the words in the health")
        wait_until(lambda: WORDS in server.log, seconds=5, what="the words in the log")
        assert wire.put(b"q", b"refused") == REFUSED
        assert wire.put(b"new", b"refused") == REFUSED
        assert "Traceback" not in server.log
        if how == "renamed":
            (tmp_path / "elsewhere").rename(log)
            wait_until(lambda: wire.stats()["health"] == "ok", seconds=40, what="health")
            assert wire.put(b"q", b"after") == b"STORED"
            server.kill()
            server.start()
            with server.connect() as again:
                for body in (b"before", b"after"):
                    assert again.get(b"q") == [(b"q", 0, body)]
                    assert again.ask(b"delete q") == b"DELETED"
        else:
            server.stop()
            assert "Traceback" not in server.log


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_with_sync_not_even_the_first_set_is_confirmed(tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    with ServerProcess(log, reliable="sync") as server, server.connect() as wire:
        assert wire.put(b"q", b"before") == b"STORED"
        if how == "removed":
            shutil.rmtree(log)
        else:
            log.rename(tmp_path / "elsewhere")
        assert wire.put(b"q", b"refused") == REFUSED


def test_a_new_directory_in_its_place_is_not_the_journal(tmp_path: Path) -> None:
    """What is in the old one would be missing."""
    log = tmp_path / "log"
    with ServerProcess(log) as server, server.connect() as wire:
        assert wire.put(b"q", b"before") == b"STORED"
        log.rename(tmp_path / "elsewhere")
        log.mkdir()
        wait_until(lambda: WORDS in wire.stats()["health"], seconds=5, what="the words in the health")
        assert wire.put(b"q", b"refused") == REFUSED
        assert list(log.iterdir()) == []
