"""Start and end of the daemon: the ready line, signals, the lock, ports, options, damaged journals."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import threading
from pathlib import Path

import pytest

from redqueue import __version__
from tests.server_process import ServerProcess, Wire, run_server, wait_until

DURABLE = pytest.mark.parametrize("reliable", ["yes", "sync"])


def waiters(server: ServerProcess, queue: bytes) -> int:
    """How many stand in the line of ``queue``."""
    with server.connect() as wire:
        return int(wire.stats(b"queue " + queue).get("waiters", "0"))


# -- start ----------------------------------------------------------------------


def test_ready_line_names_version_host_and_the_port_that_was_free(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", port=0) as server:
        match = re.search(r"RedQueue (\S+) ready on (\S+):(\d+)$", server.log, re.MULTILINE)
        assert match
        assert match[1] == __version__
        assert match[2] == "127.0.0.1"
        assert int(match[3]) > 0
        with server.connect() as wire:
            assert wire.ask(b"version") == b"VERSION " + __version__.encode()


def test_missing_journal_directory_is_made(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "a" / "b" / "log") as server, server.connect() as wire:
        assert wire.put(b"q", b"x") == b"STORED"
    assert list((tmp_path / "a" / "b" / "log").glob("segment-*"))


def test_recovery_is_over_before_the_port_opens(tmp_path: Path) -> None:
    """The first client to get through finds every item."""
    server = ServerProcess(tmp_path / "log")
    with server:
        with server.connect() as wire:
            wire.send(b"".join(b"set q 0 0 4\r\n%04d\r\n" % i for i in range(2000)))
            for _ in range(2000):
                assert wire.line() == b"STORED"
        server.kill()
        server.start()
        with server.connect() as wire:
            assert wire.stats()["curr_items"] == "2000"


def test_second_server_on_a_journal_is_told_whose_it_is(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as first:
        second = ServerProcess(tmp_path / "log")
        second.launch()
        assert second.wait() == 1
        assert f"pid {first.process.pid}" in second.log
        assert "--logdir" in second.log
        assert "Traceback" not in second.log
        with first.connect() as wire:
            assert wire.put(b"q", b"x") == b"STORED"


def test_lock_file_of_a_killed_server_is_in_nobodys_way(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "log")
    with server:
        server.kill()
        assert (tmp_path / "log" / "lock").exists()
        server.start()


def test_port_in_use(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "first") as first:
        second = ServerProcess(tmp_path / "second", port=first.port)
        second.launch()
        assert second.wait() == 1
        assert f"cannot start: 127.0.0.1:{first.port}: " in second.log
        assert "already in use" in second.log
        assert "Traceback" not in second.log


def test_journal_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    result = run_server("--port=0", f"--logdir={tmp_path / 'log'}")
    assert result.returncode == 2
    assert f"--logdir wants a directory, which {tmp_path / 'log'} is not" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("--prot=1", "did you mean port?"),
        ("--port=http", "--port wants a whole number"),
        ("--port=70000", "--port wants at most 65535"),
        ("--reliable=maybe", "--reliable wants one of no, yes, sync"),
        ("--segment-size=1kb", "--segment_size wants at least 64kb"),
        ("--reserve_timeout=5parsecs", "a duration such as 300s"),
        ("--max_item_size=big", "a size such as 512kb"),
        ("--enable_shutdown=perhaps", "wants yes or no"),
        ("serve", "options are written --name=value"),
    ],
)
def test_bad_option_says_what_to_write_instead(argument: str, advice: str) -> None:
    result = run_server(argument)
    assert result.returncode == 2
    assert advice in result.stderr
    assert "Traceback" not in result.stderr


def test_help_and_version_end_well() -> None:
    text = run_server("--help")
    assert text.returncode == 0
    for name in ("--port", "--logdir", "--reliable", "--unix_socket", "--reserve_timeout"):
        assert name in text.stdout
    version = run_server("--version")
    assert (version.returncode, version.stdout.strip()) == (0, f"RedQueue {__version__}")


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.sock"
    server = ServerProcess(tmp_path / "log", unix_socket=path)
    with server:
        wait_until(lambda: f"also listening on {path}" in server.log, what="the line about the socket")
        with Wire.unix(path) as local, server.connect() as remote:
            assert local.put(b"q", b"hello") == b"STORED"
            assert remote.get(b"q") == [(b"q", 0, b"hello")]
        server.kill()
        assert path.exists()
        server.start()  # a socket left behind by a dead server is replaced
        with Wire.unix(path) as local:
            assert local.get(b"q") == [(b"q", 0, b"hello")]
        assert server.stop() == 0
        assert not path.exists()


# -- damage ---------------------------------------------------------------------


def test_damaged_journal_stops_the_start_and_salvage_gets_over_it(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with ServerProcess(logdir, segment_size="64kb") as server:
        with server.connect() as wire:
            for i in range(200):
                assert wire.put(b"q", b"%04d" % i + b"." * 1000) == b"STORED"
        assert server.stop() == 0
    first = min(logdir.glob("segment-*"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0x40
    first.write_bytes(content)

    damaged = ServerProcess(logdir)
    damaged.launch()
    assert damaged.wait() == 1
    assert str(first) in damaged.log
    assert re.search(r"damaged at offset \d+", damaged.log)
    assert "--salvage" in damaged.log
    assert "Traceback" not in damaged.log
    assert first.read_bytes() == bytes(content)

    with ServerProcess(logdir, salvage="yes") as server, server.connect() as wire:
        kept = int(wire.stats()["curr_items"])
        assert 190 <= kept < 200
        server.says("salvage")
        wait_until(lambda: not first.exists(), what="the end of the damaged segment")
        assert server.stop() == 0
    with ServerProcess(logdir) as server, server.connect() as wire:
        assert int(wire.stats()["curr_items"]) == kept
        assert wire.get(b"q")[0][2].startswith(b"0000")


def test_torn_tail_is_cut_and_logged_with_its_offset(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with ServerProcess(logdir) as server:
        with server.connect() as wire:
            assert wire.put(b"q", b"first") == b"STORED"
            assert wire.put(b"q", b"second") == b"STORED"
        assert server.stop() == 0
    last = max(logdir.glob("segment-*"))
    size = last.stat().st_size
    with last.open("r+b") as file:
        file.truncate(size - 3)
    with ServerProcess(logdir) as server, server.connect() as wire:
        assert re.search(rf"torn tail: .*{last.name} is cut at offset \d+", server.log)
        assert wire.get(b"q") == [(b"q", 0, b"first")]
        assert wire.ask(b"delete q") == b"DELETED"
        assert wire.get(b"q") == []


# -- the end --------------------------------------------------------------------


@DURABLE
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_answers_waiters_keeps_items_and_exits_0(tmp_path: Path, number: int, reliable: str) -> None:
    server = ServerProcess(tmp_path / "log", reliable=reliable)
    with server:
        with server.connect() as waiting, server.connect() as worker:
            waiting.send(b"get nothing/t=60000\r\nversion\r\n")
            assert worker.put(b"q", b"reserved", 7) == b"STORED"
            assert worker.put(b"q", b"ready") == b"STORED"
            assert worker.get(b"q") == [(b"q", 7, b"reserved")]
            wait_until(lambda: waiters(server, b"nothing") == 1, what="the waiter")
            assert server.stop(number) == 0
            assert waiting.rest() == b"END\r\nVERSION %s\r\n" % __version__.encode()
            assert worker.rest() == b""
        server.says(f"{signal.Signals(number).name}: ending")
        assert "Traceback" not in server.log
        server.start()
        with server.connect() as wire:
            for expected in ((b"q", 7, b"reserved"), (b"q", 0, b"ready")):
                assert wire.get(b"q") == [expected]
                assert wire.ask(b"delete q") == b"DELETED"
            assert wire.get(b"q") == []


@DURABLE
def test_what_was_confirmed_before_the_end_is_kept(tmp_path: Path, reliable: str) -> None:
    server = ServerProcess(tmp_path / "log", reliable=reliable)
    with server:
        with server.connect() as wire:
            script = b"".join(b"set q 0 0 5\r\n%05d\r\n" % i for i in range(20000))

            def pump() -> None:
                with contextlib.suppress(OSError):  # the server has gone
                    wire.send(script)

            thread = threading.Thread(target=pump)
            thread.start()
            assert wire.line() == b"STORED"
            assert server.stop() == 0
            confirmed = 1
            with contextlib.suppress(ConnectionResetError):
                while line := wire.line():
                    assert line == b"STORED"
                    confirmed += 1
            thread.join()
        server.start()
        with server.connect() as wire:
            assert int(wire.stats()["curr_items"]) >= confirmed
            assert wire.get(b"q") == [(b"q", 0, b"00000")]


def stuff(server: ServerProcess) -> Wire:
    """A client to whom more is owed than it will ever read."""
    wire = server.connect()
    assert wire.put(b"big", b"." * (1 << 20)) == b"STORED"
    wire.send(b"get big/peek\r\n" * 200)
    wait_until(lambda: wire.socket.recv(1, socket.MSG_PEEK), what="the first reply")
    return wire


def test_second_signal_exits_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, stuff(server):
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: ending" in server.log, what="the first signal's line")
        assert server.process.poll() is None  # it waits for the client that does not read
        assert server.stop(signal.SIGTERM, 3) == 1
        server.says("SIGTERM again: exiting at once")
        server.start()
        with server.connect() as wire:
            assert wire.stats()["curr_items"] == "1"


def test_client_that_never_reads_cannot_keep_the_server_up(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, stuff(server):
        assert server.stop() == 0
        server.says("1 items are kept")


def test_ended_server_accepts_nobody(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, stuff(server):
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: ending" in server.log, what="the signal's line")

        def is_refused() -> bool:
            try:
                server.connect().close()
            except ConnectionRefusedError:
                return True
            return False

        wait_until(is_refused, what="the refusal")
        assert server.stop() == 1  # it was still there, waiting for the client that does not read


def test_shutdown_is_off_unless_enabled(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        assert wire.ask(b"shutdown") == b"ERROR: shutdown not enabled"
        assert wire.ask(b"version").startswith(b"VERSION")


@pytest.mark.parametrize("command", [b"shutdown", b"shutdown graceful"])
def test_shutdown_ends_the_server_as_a_signal_does(tmp_path: Path, command: bytes) -> None:
    server = ServerProcess(tmp_path / "log", enable_shutdown="yes")
    with server:
        with server.connect() as waiting, server.connect() as wire:
            assert wire.put(b"q", b"kept") == b"STORED"
            waiting.send(b"get nothing/t=60000\r\n")
            wait_until(lambda: waiters(server, b"nothing") == 1, what="the waiter")
            wire.send(command + b"\r\n")
            assert wire.rest() == b""
            assert waiting.rest() == b"END\r\n"
        assert server.wait() == 0
        server.start()
        with server.connect() as wire:
            assert wire.get(b"q") == [(b"q", 0, b"kept")]


# -- how many -------------------------------------------------------------------


def test_max_connections(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", max_connections=2) as server:
        first, second = server.connect(), server.connect()
        assert first.ask(b"version").startswith(b"VERSION")
        assert second.ask(b"version").startswith(b"VERSION")
        with server.connect() as third:
            assert third.rest() == b"SERVER_ERROR too many open connections\r\n"
        assert first.stats()["rejected_connections"] == "1"
        wait_until(lambda: "max_connections=2 reached" in server.log, what="the line about it")

        second.close()
        wait_until(lambda: first.stats()["curr_connections"] == "1", what="the freed place")
        with server.connect() as third:
            assert third.ask(b"version").startswith(b"VERSION")
            with server.connect() as fourth:
                assert fourth.line() == b"SERVER_ERROR too many open connections"
        first.close()
