"""Draining a server with real clients: no new items, and what is there goes out."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.server.slow_start import SLOW_START
from tests.server_process import ServerProcess, wait_until


def test_a_drain_under_load(tmp_path: Path) -> None:
    """Nothing is taken after the drain, nothing that was taken is lost, and all of it goes out meanwhile."""
    answers: list[bytes] = []
    taken: list[bytes] = []
    with ServerProcess(tmp_path / "log") as server:

        def produce() -> None:
            with server.connect() as wire:
                number = 0
                while b"NOT_STORED" not in answers:
                    answers.append(wire.put(b"q", b"%d" % number))
                    number += 1

        def consume() -> None:
            with server.connect() as wire:
                while item := wire.get(b"q/t=1000"):
                    taken.append(item[0][2])
                    assert wire.ask(b"delete q") == b"DELETED"

        threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(taken) > 50, what="some items")
        server.process.send_signal(signal.SIGUSR1)
        for thread in threads:
            thread.join(30)
        assert answers == [b"STORED"] * (len(answers) - 1) + [b"NOT_STORED"]
        assert taken == [b"%d" % i for i in range(len(answers) - 1)]
        server.says("draining: no new items are taken")
        with server.connect() as wire:
            assert (wire.stats()["draining"], wire.stats()["readonly"]) == ("1", "0")
            assert wire.stats()["curr_items"] == "0"
            server.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: wire.stats()["draining"] == "0", what="the end of the drain")
            assert wire.put(b"q", b"x") == b"STORED"
        server.says("the drain has ended")


def test_the_signal_leaves_an_operators_readonly_alone(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        assert wire.ask(b"readonly on") == b"OK"
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: wire.stats()["draining"] == "1")
        server.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: wire.stats()["draining"] == "0")
        assert wire.stats()["readonly"] == "1"
        assert wire.put(b"q", b"x") == b"NOT_STORED"


@pytest.mark.plain
def test_a_signal_during_the_replay_is_not_forgotten(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "log")
    server.command = [sys.executable, "-c", SLOW_START, str(tmp_path / "gate")]
    server.launch()
    try:
        wait_until(lambda: "replaying the journal" in server.log)
        server.process.send_signal(signal.SIGUSR1)
        (tmp_path / "gate").touch()
        wait_until(server.is_ready)
        with server.connect() as wire:
            wait_until(lambda: wire.stats()["draining"] == "1")
            assert wire.put(b"q", b"x") == b"NOT_STORED"
    finally:
        server.kill()
