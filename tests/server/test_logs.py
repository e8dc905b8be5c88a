"""The log: its two formats, what it holds back, and that nobody ever waits for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from redqueue.config.kinds import BadOption
from redqueue.config.load import load
from redqueue.server import logs as module
from redqueue.server.log_lines import JsonLines, TextLines, written_traceback
from redqueue.server.logs import Logs
from redqueue.server.repeats import MOST_KINDS, MOST_PEERS, SECONDS, Repeats
from tests.server_process import ServerProcess, wait_until

SECRET = b"TOP-SECRET"


def record(message: str, level: int = logging.INFO, error: BaseException | None = None, **fields: object) -> Any:
    found = logging.LogRecord("redqueue.test", level, "", 0, message, None, None)
    found.created, found.msecs = 1767268800.0625, 62.5
    found.fields = fields
    if error is not None:
        found.exc_text = written_traceback(error)
    return found


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as found:
        return found


class TestFormats:
    def test_text(self) -> None:
        fields = {"peer": "192.0.2.1:5", "queue": b"a b\xff", "n": 3, "empty": "", "quote": 'a"b'}
        line = TextLines().format(record("closed", logging.WARNING, None, **fields))
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,062 WARNING closed .*", line)
        assert line.endswith(r'closed peer=192.0.2.1:5 queue="a b\\xff" n=3 empty="" quote="a\"b"')

    def test_json(self) -> None:
        line = JsonLines().format(record("ä\nb", logging.ERROR, caught(OSError("gone")), queue=b"\xff", n=3, time="x"))
        assert "\n" not in line
        entry = json.loads(line)
        assert entry.pop("exception").endswith("OSError: gone")
        assert entry == {
            "time": "2026-01-01T12:00:00.062Z",
            "level": "error",
            "logger": "redqueue.test",
            "message": "ä\nb",
            "queue": "\\xff",
            "n": 3,
        }
        assert datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).tzinfo == timezone.utc

    def test_no_message_makes_two_lines_or_commands_a_terminal(self) -> None:
        line = TextLines().format(record("a\r\nFORGED\x1b[2J\x9b\u2028", None or logging.INFO, None, x="a\nb"))
        assert line.endswith(r'a\r\nFORGED\x1b[2J\x9b\u2028 x="a?b"')

    def test_a_traceback_has_no_text_that_may_quote_a_client(self) -> None:
        try:
            int(SECRET)
        except ValueError as cause:
            text = written_traceback(caught(RuntimeError("a defect"), cause))
        assert SECRET.decode() not in text
        assert "ValueError: (the text is left out: " in text
        assert text.index("ValueError") < text.index("RuntimeError: a defect")
        assert "int(SECRET)" in text  # the line of the program
        assert SECRET.decode() not in written_traceback(caught(KeyError(SECRET)))


class TestRepeats:
    def test_the_first_of_each_peer_then_a_count(self) -> None:
        repeats = Repeats()
        let = [repeats.lets("tls", peer, 30, 0.0) for peer in ("a", "a", "b", "a", "b", "a")]
        assert let == [True, False, True, False, False, False]
        assert repeats.lets("http", "a", 30, 1.0)
        assert [*repeats.due(SECONDS - 0.1)] == []
        assert [*repeats.due(SECONDS)] == [(30, "tls: 4 more within 10 s (3 from a, 1 from b)", 4)]
        assert repeats.lets("tls", "a", 30, SECONDS)

    def test_what_was_not_repeated_is_not_counted(self) -> None:
        repeats = Repeats()
        assert repeats.lets("tls", "a", 30, 0.0)
        assert [*repeats.due(SECONDS)] == []
        assert repeats.lets("tls", "a", 30, SECONDS)

    def test_many_addresses_and_kinds_take_bounded_memory_and_lines(self) -> None:
        repeats = Repeats()
        let = sum(repeats.lets("tls", f"10.0.{n >> 8}.{n & 255}", 30, 0.0) for n in range(5000))
        assert let == MOST_PEERS
        ((_, message, count),) = repeats.due(SECONDS)
        assert count == 5000 - MOST_PEERS
        assert message == f"tls: {count} more within 10 s ({count} from other addresses)"
        let = sum(repeats.lets(f"kind {n}", "a", 30, 0.0) for n in range(5000))
        assert let == MOST_KINDS + 1
        assert len(repeats._kinds) == MOST_KINDS + 1


class Pipe:
    """A log that is written to a pipe, which is read when the test says so."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.logs = Logs(self._writer)
        self.log = logging.Logger("redqueue.test")
        self.log.addHandler(self.logs)

    def fill(self) -> None:
        """Nothing more can be written to the pipe."""
        os.set_blocking(self._writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(self._writer, b"." * 4095 + b"\n")

    def read_to_the_end(self) -> str:
        """Close the log while its output is being read; returns that."""
        found: list[bytes] = []

        def read() -> None:
            while data := os.read(self._reader, 65536):
                found.append(data)

        thread = threading.Thread(target=read)
        thread.start()
        self.logs.close()
        os.close(self._writer)
        thread.join()
        os.close(self._reader)
        return b"".join(found).decode()


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


class TestHandler:
    def test_before_the_thread_starts_records_are_written_at_once(self, pipe: Pipe) -> None:
        pipe.log.info("one %d", 1)
        assert os.read(pipe._reader, 1000).endswith(b"INFO one 1\n")
        assert pipe.read_to_the_end() == ""

    def test_all_is_written_in_order(self, pipe: Pipe) -> None:
        pipe.logs.start()
        for number in range(500):
            pipe.log.info("line %d", number)
        pipe.log.error("arguments that do not fit: %d %d", 1)
        lines = pipe.read_to_the_end().splitlines()
        assert [line.split(" ", 3)[3] for line in lines[:-1]] == [f"line {number}" for number in range(500)]
        assert "arguments that do not fit: %d %d (of which" in lines[-1]
        assert pipe.logs.dropped == 0

    def test_nobody_waits_for_a_pipe_that_is_full_and_what_is_lost_is_counted(self, pipe: Pipe) -> None:
        pipe.fill()
        pipe.logs.start()
        for number in range(module.MOST_WAITING + 500):
            pipe.log.info("line %d", number)
        assert len(pipe.logs._waiting) <= module.MOST_WAITING
        dropped = pipe.logs.dropped
        assert 1499 <= dropped <= 1501
        pipe.log.critical("the end")  # for which there is room
        text = pipe.read_to_the_end()
        assert text.count("INFO line ") == module.MOST_WAITING + 500 - dropped
        assert f"WARNING {dropped} messages of the log could not be written\n" in text
        assert "CRITICAL the end\n" in text

    def test_the_end_waits_for_a_full_pipe_a_bounded_time(self, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LAST_SECONDS", 0.05)
        pipe.fill()
        pipe.logs.start()
        pipe.log.info("never read")
        pipe.logs.flush(0.05)
        pipe.logs.close()
        pipe.logs.flush()
        pipe.logs.close()
        thread = pipe.logs._thread
        assert thread is not None
        assert thread.daemon  # and so does not keep the process
        pipe.read_to_the_end()
        thread.join()

    def test_a_pipe_whose_reader_has_gone(self, pipe: Pipe) -> None:
        os.close(pipe._reader)
        pipe.logs.start()
        pipe.log.info("nobody reads this")
        pipe.logs.flush()
        assert pipe.logs.dropped == 1
        pipe.logs.close()
        os.close(pipe._writer)

    def test_a_file_is_opened_anew_and_what_was_said_before_is_in_the_old_one(self, pipe: Pipe, tmp_path: Path) -> None:
        path, moved = tmp_path / "redqueue.log", tmp_path / "redqueue.log.1"
        options = load([f"--log_file={path}", "--log_format=json"], {}).options
        pipe.logs.prepare(options)()
        pipe.logs.start()
        pipe.log.info("first")
        path.rename(moved)
        pipe.log.info("second")
        pipe.logs.prepare(options)()
        pipe.log.info("third")
        pipe.logs.prepare(load([], {}).options)()
        pipe.log.info("fourth")
        assert pipe.read_to_the_end().endswith("INFO fourth\n")
        assert [json.loads(line)["message"] for line in moved.read_text().splitlines()] == ["first", "second"]
        assert [json.loads(line)["message"] for line in path.read_text().splitlines()] == ["third"]
        assert path.stat().st_mode & 0o777 == 0o640

    def test_a_file_that_is_prepared_and_not_used_is_closed(self, pipe: Pipe, tmp_path: Path) -> None:
        before = len(os.listdir("/proc/self/fd"))
        options = load([f"--log_file={tmp_path / 'x'}"], {}).options
        for _ in range(10):
            with pytest.warns(ResourceWarning):
                pipe.logs.prepare(options)
        assert len(os.listdir("/proc/self/fd")) == before
        with pytest.raises(BadOption, match=r"log_file=/ cannot be opened: Is a directory"):
            pipe.logs.prepare(load(["--log_file=/"], {}).options)

    def test_the_journal_of_systemd_gets_priorities_and_no_times(
        self, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = os.fstat(pipe._writer)
        for stream, line in ((f"{found.st_dev}:{found.st_ino}", "<4>careful n=1"), ("1:1", " WARNING careful n=1")):
            monkeypatch.setenv("JOURNAL_STREAM", stream)
            pipe.logs.prepare(load([], {}).options)()
            pipe.log.warning("careful", extra={"fields": {"n": 1}})
            assert os.read(pipe._reader, 1000).decode().endswith(f"{line}\n")
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        pipe.logs.prepare(load([], {}).options)()
        pipe.log.error("broken", exc_info=(ValueError, caught(ValueError("x")), None))
        assert all(line.startswith("<3>") for line in pipe.read_to_the_end().splitlines())

    def test_repeats_are_counted_at_the_end_at_the_latest(self, pipe: Pipe) -> None:
        pipe.logs.start()
        for number in range(20):
            extra = {"repeats": "nonsense", "fields": {"peer": f"[::1]:{number}"}}
            pipe.log.warning("connection closed: %s", "nonsense", extra=extra)
        lines = pipe.read_to_the_end().splitlines()
        assert len(lines) == 2
        assert lines[0].endswith("WARNING connection closed: nonsense peer=[::1]:0")
        assert lines[1].endswith("WARNING nonsense: 19 more within 10 s (19 from [::1]) repeated=19")


# -- a server -----------------------------------------------------------------------------


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose standard error nobody reads after the ready line."""
    server = ServerProcess(tmp_path / "log")
    reading = threading.Event()

    def read() -> None:
        assert server.process.stderr is not None
        for line in server.process.stderr:
            server._lines.append(line)
            if "hot modules" in line:
                reading.wait()

    server._read = read  # type: ignore[method-assign]
    server.read_on = reading.set  # type: ignore[attr-defined]
    with server:
        yield server
        reading.set()


def test_a_log_that_nobody_reads_stops_nobody(stuck: ServerProcess) -> None:
    with stuck.connect() as wire:
        for _ in range(130):
            wire.send(b"readonly on\r\nreadonly off\r\n" * 100)
            for _ in range(200):
                assert wire.line() == b"OK"
        assert wire.put(b"q", b"x") == b"STORED"
        assert wire.get(b"q") == [(b"q", 0, b"x")]
        stuck.read_on()  # type: ignore[attr-defined]
        wait_until(lambda: "messages of the log could not be written" in stuck.log, what="the count of the lost ones")
    lost = sum(int(count) for count in re.findall(r"(\d+) messages of the log", stuck.log))
    assert stuck.stop() == 0
    assert stuck.log.count("INFO readonly o") == 26_000 - lost
    assert "INFO ended" in stuck.log


def test_a_server_ends_though_nobody_reads_its_log(stuck: ServerProcess) -> None:
    with stuck.connect() as wire:
        for _ in range(20):
            wire.send(b"readonly on\r\nreadonly off\r\n" * 100)
            for _ in range(200):
                assert wire.line() == b"OK"
    assert stuck.process.poll() is None
    stuck.process.terminate()
    assert stuck.process.wait(20) == 0


def test_a_log_file_in_json_and_levels(tmp_path: Path) -> None:
    path = tmp_path / "redqueue.log"
    server = ServerProcess(tmp_path / "log", log_file=path, log_format="json", log_level="warning", reliable="no")
    server.launch()
    with_messages = lambda: path.exists() and path.read_text().count("\n") >= 1  # noqa: E731
    try:
        wait_until(with_messages, what="a line in the log")
    finally:
        server.process.terminate()
        assert server.wait() == 0
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["level"] for entry in entries] == ["warning"]
    assert entries[0]["message"].startswith("reliable=no")
    assert server.log == ""


def test_verbosity_goes_up_to_debug_and_back_to_what_the_options_say(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as wire:
        assert wire.ask(b"verbosity 1") == b"OK"
        assert wire.ask(b"readonly off") == b"OK"
        assert wire.ask(b"verbosity 0") == b"OK"
        wait_until(lambda: "readonly off" in server.log, what="the line")
    with ServerProcess(tmp_path / "more", verbose="yes", log_level="error") as server:
        server.says("INFO")


def test_what_clients_store_is_never_in_the_log(tmp_path: Path) -> None:
    """Neither from good requests nor from all kinds of bad ones."""
    requests = (
        b"set q 0 0 10\r\n%b\r\n",
        b"set q 0 0 5\r\n%b\r\n",
        b"set q 0 0 9999999\r\n%b\r\n",
        b"set q 0 0 x\r\n%b\r\n",
        b"set q/x=\x01 0 0 10\r\n%b\r\n",
        b"cas q 0 0 10 17\r\n%b\r\n",
        b"ms q 10 Z\r\n%b\r\n",
        b"ms q 10 Fx\r\n%b\r\n",
        b"%b\r\n",
        b"GET /%b HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01%b\r\n",
        b"\x80\x01\x00\x01\x08\x00\x00\x00\x00\x00\x00\x13" + bytes(12) + bytes(8) + b"q%b",
        b"\x80\xff%b" + bytes(30),
        b"get %b" + b"a" * 9000 + b"\r\n",
    )
    with ServerProcess(tmp_path / "log", log_level="debug", max_connections=20, max_deliveries=1) as server:
        for request in requests:
            with server.connect() as wire:
                wire.send(request.replace(b"%b", SECRET))
                wire.end_sending()
                wire.rest()
        with server.connect() as wire:
            wire.put(b"jobs", SECRET)
            wire.get(b"jobs")
        with server.connect() as wire:
            wire.get(b"jobs.dead")
            wire.ask(b"redrive jobs.dead")
            wire.ask(b"drop jobs")
        assert server.stop() == 0
        server.says("closed: ")
        assert SECRET.decode() not in server.log
    with ServerProcess(tmp_path / "log", log_level="debug") as server:
        assert server.stop() == 0
        assert SECRET.decode() not in server.log


def test_many_that_misbehave_at_once_make_few_lines(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        for number in range(300):
            with socket.socket() as client:
                client.bind((f"127.0.0.{number % 100 + 1}", 0))
                client.connect((server.host, server.port))
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while client.recv(1000):
                    pass
        assert server.stop() == 0
        lines = [line for line in server.log.splitlines() if " closed: " in line]
        assert len(lines) <= 2 * (MOST_PEERS + 1), "ten in full, and a count, for each ten seconds"
        full = sum("connection closed" in line for line in lines)
        assert full + sum(int(count) for count in re.findall(r"repeated=(\d+)", server.log)) == 300


def test_a_defect_is_in_the_log_file(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys\nfrom redqueue.server import daemon\n"
        "def broken(self): raise KeyError('TOP-SECRET')\n"
        "daemon.Server._open_broker = broken\nsys.exit(daemon.main(sys.argv[1:]))\n"
    )
    path = tmp_path / "redqueue.log"
    server = ServerProcess(tmp_path / "log", log_file=path)
    server.command = [sys.executable, str(script)]
    server.launch()
    assert server.wait() == 1
    assert "CRITICAL a defect in the server" in path.read_text()
    assert "KeyError: (the text is left out" in path.read_text()
    assert server.log == ""
