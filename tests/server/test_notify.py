"""What the service manager is told: readiness, status, reloads, the end, and signs of life."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from redqueue.server.notify import Notifier
from tests.server.service_manager import ServiceManager
from tests.server.slow_start import SLOW_START
from tests.server_process import ServerProcess, wait_until

# -- the messages ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_each_message(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@redqueue-test-{os.getpid()}"
    with ServiceManager(address) as manager:
        notifier = Notifier(address)
        assert notifier
        notifier.ready()
        assert manager.receive() == ["READY=1", f"MAINPID={os.getpid()}"]
        notifier.status("well")
        notifier.status("well")
        notifier.extend_timeout(1.5)
        assert manager.receive() == ["STATUS=well"]
        assert manager.receive() == ["EXTEND_TIMEOUT_USEC=1500000"]
        notifier.reloading()
        first, second = manager.receive()
        assert first == "RELOADING=1"
        assert second.startswith("MONOTONIC_USEC=")
        assert int(second.partition("=")[2]) > 0
        notifier.keep_alive()
        assert manager.receive() == ["WATCHDOG=1"]
        notifier.stopping()
        assert manager.receive() == ["STOPPING=1", "STATUS=ending"]


def test_nobody_to_tell() -> None:
    notifier = Notifier.from_environment({})
    assert not notifier
    notifier.ready()
    notifier.keep_alive()


def test_the_variables_are_taken_out_of_the_environment(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    environment["HOME"] = "/"
    notifier = Notifier.from_environment(environment)
    assert notifier.watchdog_seconds == 3
    assert environment == {"HOME": "/"}


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    assert Notifier.from_environment({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_seconds == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"NOTIFY_SOCKET": "relative"}, "NOTIFY_SOCKET wants a path or @ and a name, not 'relative'"),
        ({"WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC wants a number of microseconds, not 'soon'"),
        ({"WATCHDOG_USEC": "0"}, "WATCHDOG_USEC wants a number of microseconds, not '0'"),
    ],
)
def test_variables_that_make_no_sense(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match="wants") as caught:
        Notifier.from_environment(environment)
    assert str(caught.value) == message


def test_a_manager_that_does_not_read_stops_nobody(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        notifier = Notifier(manager.address)
        for _ in range(10_000):
            notifier.keep_alive()


def test_a_manager_that_has_gone_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(str(tmp_path / "gone"))
    notifier.ready()
    notifier.keep_alive()
    assert caplog.text.count("the service manager cannot be told") == 1


# -- the server -----------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceManager:
    """A service manager of which servers are told that are started by the test."""
    manager = ServiceManager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    return manager


def test_the_life_of_a_server(tmp_path: Path, manager: ServiceManager) -> None:
    server = ServerProcess(tmp_path / "log")
    with manager, server:
        before = manager.receive_until("READY=1")
        assert before[:2] == ["STATUS=replaying the journal", "EXTEND_TIMEOUT_USEC=120000000"]
        assert before[-1] == f"MAINPID={server.process.pid}"
        assert any(line.startswith("STATUS=0 items in 0 queues, 0 connections") for line in before)
        with server.connect() as wire:
            assert wire.put(b"q", b"x") == b"STORED"
            manager.receive_until("STATUS=1 items in 1 queues, 1 connections")
            wire.ask(b"readonly on")
            manager.receive_until("STATUS=read-only; 1 items")
        server.process.send_signal(signal.SIGHUP)
        manager.receive_until("RELOADING=1")
        manager.receive_until("READY=1")
        assert server.stop() == 0
        assert manager.receive_until("STOPPING=1")[-1] == "STATUS=ending"
        assert not any(line.startswith("WATCHDOG") for line in manager.lines)


@pytest.mark.plain
def test_a_long_replay_is_told_and_ready_comes_after_it(tmp_path: Path, manager: ServiceManager) -> None:
    server = ServerProcess(tmp_path / "log")
    server.command = [sys.executable, "-c", SLOW_START, str(tmp_path / "gate")]
    with manager:
        server.launch()
        try:
            found = manager.receive_until("STATUS=replaying the journal: 25 %")
            assert "READY=1" not in found
            assert manager.receive() == ["EXTEND_TIMEOUT_USEC=120000000"]
            (tmp_path / "gate").touch()
            manager.receive_until("READY=1")
            wait_until(server.is_ready, what="the ready line")
            with server.connect() as wire:
                assert wire.ask(b"version").startswith(b"VERSION")
        finally:
            server.kill()


def test_a_port_that_is_taken_never_gets_ready(tmp_path: Path, manager: ServiceManager) -> None:
    with manager, ServerProcess(tmp_path / "first") as first:
        manager.receive_until("READY=1")
        second = ServerProcess(tmp_path / "second", port=first.port)
        second.launch()
        assert second.wait() == 1
        assert "READY=1" not in manager.take_what_is_there()


def test_the_watchdog_is_fed_by_the_loop_and_only_while_it_runs(
    tmp_path: Path, manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    server = ServerProcess(tmp_path / "log")
    with manager, server:
        for _ in range(3):
            manager.receive_until("WATCHDOG=1")
        server.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{server.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="the stop")
        manager.take_what_is_there()
        with pytest.raises(TimeoutError):  # this is when systemd would abort it
            manager.receive(0.5)
        server.process.send_signal(signal.SIGCONT)
        manager.receive_until("WATCHDOG=1")


def test_what_the_watchdog_aborts_leaves_its_stacks(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        server.process.send_signal(signal.SIGABRT)
        assert server.wait() == -signal.SIGABRT
        server.says("Fatal Python error: Aborted")
        server.says("most recent call first")
