"""Signs of life stop where the journal hangs, and come back with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from redqueue.server import watch
from redqueue.server.figures import ServerFigures
from redqueue.server.notify import Notifier
from redqueue.server.watch import Watch
from tests.server.service_manager import ServiceManager
from tests.server_in_process import InProcessServer


async def look_at(server: InProcessServer, manager: ServiceManager) -> Watch:
    """A watch over a server without a loop, which looks when the test says so."""
    nothing: Any = None
    figures = ServerFigures(
        nothing, server.connections, server.service, server.commit, server.log, 0.0, nothing, is_ending=lambda: False
    )
    return Watch(Notifier(manager.address, 1.0), figures)


@pytest.mark.parametrize("reliable", ["yes", "sync"])
def test_a_journal_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reliable: str) -> None:
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.0)

    async def run() -> None:
        server = InProcessServer(tmp_path / "log", sync=reliable == "sync")
        client = server.connect()
        assert client.put(b"q", b"x") == b"STORED\r\n"
        with ServiceManager(tmp_path / "notify") as manager:
            sight = await look_at(server, manager)
            sight.look()
            assert manager.receive() == ["STATUS=1 items in 1 queues, 1 connections"]
            assert manager.receive() == ["WATCHDOG=1"]
            if reliable == "yes":
                server.commit.sync()
            else:
                client.send(b"set q 0 0 1\r\nx\r\n")
                while server.calls:
                    server.calls.popleft()()
            assert server.log.busy
            sight.look()  # it has been busy since now
            assert manager.receive() == ["WATCHDOG=1"]
            sight.look()
            (status,) = manager.take_what_is_there()
            assert status.startswith("STATUS=the journal hangs; 1 items")
            server.run()
            sight.look()
            assert manager.receive()[0].startswith("STATUS=")
            assert manager.receive() == ["WATCHDOG=1"]

    (tmp_path / "log").mkdir()
    asyncio.run(run())


def test_a_journal_that_is_busy_with_one_thing_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.0)

    async def run() -> None:
        server = InProcessServer(tmp_path / "log", sync=True)
        client = server.connect()
        with ServiceManager(tmp_path / "notify") as manager:
            sight = await look_at(server, manager)
            for _ in range(4):
                server.run()
                client.send(b"set q 0 0 1\r\nx\r\n")
                while server.calls:
                    server.calls.popleft()()
                assert server.log.busy
                sight.look()
                manager.receive_until("WATCHDOG=1")

    (tmp_path / "log").mkdir()
    asyncio.run(run())
