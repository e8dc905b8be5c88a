"""A real server in a process of its own, and a client that sends and expects bytes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0


def wait_until(condition: Callable[[], object], seconds: float = 20.0, what: str = "the condition") -> None:
    """Poll ``condition`` until it is true.

    :raises AssertionError: after ``seconds``
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.005)


def run_server(*arguments: str, seconds: float = START_SECONDS) -> subprocess.CompletedProcess[str]:
    """Run the daemon with a command line of which it is to end by itself; returns status and output."""
    return subprocess.run(
        [sys.executable, str(ROOT / "bin" / "redqueue_server.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=seconds,
        check=False,
    )


class ServerProcess:
    """``bin/redqueue_server.py`` with its journal in ``logdir``.

    Use as a context manager: it is started and ready inside, killed at the end
    if it still runs. Options are keyword arguments: ``ServerProcess(tmp_path, reliable="sync")``. It has no
    web page unless it gets ``http_port="any"``; then :attr:`url` is where that is.

    :ivar command: what is run, before the options
    :ivar inherited: descriptors that it gets
    """

    def __init__(self, logdir: Path, **options: object) -> None:
        self.logdir = logdir
        self.command = [sys.executable, str(ROOT / "bin" / "redqueue_server.py")]
        self._options = {"port": 0, "http_port": 0, "logdir": logdir, **options}
        self.inherited: list[int] = []
        self._lines: list[str] = []
        self.process: subprocess.Popen[str]
        self.host = ""
        self.port = 0

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def launch(self) -> None:
        """Start the process without waiting for it to be ready."""
        self._lines = []
        self.process = subprocess.Popen(
            [*self.command, *(f"--{k}={v}" for k, v in self._options.items())],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=self.inherited,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self) -> None:
        """Start the process and wait for its ready line."""
        self.launch()
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, START_SECONDS, "the ready line")
        assert self.is_ready(), self.log

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)

    def is_ready(self) -> bool:
        """Whether it has written its ready line, which tells where it listens."""
        match = re.search(r"RedQueue \S+ ready on (\S+):(\d+)\s", self.log)
        if match:
            self.host, self.port = match[1], int(match[2])
        return bool(match)

    @property
    def url(self) -> str:
        """Where its web page is, with a slash at the end."""
        wait_until(lambda: "the web page is on" in self.log, what="the address of the web page")
        match = re.search(r"the web page is on (\S+)", self.log)
        assert match
        return match[1]

    @property
    def http_port(self) -> int:
        """The port of its web page."""
        return int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def log(self) -> str:
        """What it has written to standard error since its last start."""
        return "".join(list(self._lines))

    def says(self, text: str) -> None:
        """Wait until its log has ``text``, which another thread writes than the one that answers.

        :raises AssertionError: where it does not come
        """
        wait_until(lambda: text in self.log, what=f"{text!r} in the log\n{self.log}\n")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def kill(self) -> None:
        """kill -9."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)

    def wait(self, seconds: float = START_SECONDS) -> int:
        """Wait until it ends by itself; returns the exit status."""
        status = self.process.wait(seconds)
        self._reader.join(5)
        return status

    def connect(self, timeout: float = 10.0) -> Wire:
        """A new connection."""
        return Wire(self.host, self.port, timeout)

    def resident_bytes(self) -> int:
        """Its resident set size."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match, status
        return int(match[1]) * 1024


class Wire:
    """One connection, in bytes.

    :ivar ended: whether :meth:`line` has met the end of the stream
    """

    def __init__(self, host: str, port: int, timeout: float = 10.0) -> None:
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.ended = False

    @classmethod
    def unix(cls, path: Path, timeout: float = 10.0) -> Wire:
        """A connection to a Unix socket."""
        wire = cls.__new__(cls)
        wire.socket = socket.socket(socket.AF_UNIX)
        wire.socket.settimeout(timeout)
        wire.socket.connect(str(path))
        wire._buffer = b""
        wire.ended = False
        return wire

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        self.socket.sendall(data)

    def end_sending(self) -> None:
        """Shut the sending side down."""
        self.socket.shutdown(socket.SHUT_WR)

    def line(self) -> bytes:
        """The next line, without its CRLF; what is left before the end of the stream if there is none."""
        while b"\r\n" not in self._buffer:
            data = self.socket.recv(65536)
            if not data:
                self.ended = True
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        while len(self._buffer) < size:
            data = self.socket.recv(65536)
            assert data, f"the connection ended after {self._buffer!r}"
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while data := self.socket.recv(65536):
            self._buffer += data
        rest, self._buffer = self._buffer, b""
        return rest

    def ask(self, command: bytes) -> bytes:
        """Send a command line and return the one line of its answer."""
        self.send(command + b"\r\n")
        return self.line()

    def put(self, queue: bytes, body: bytes, flags: int = 0, exptime: int = 0, verb: bytes = b"set") -> bytes:
        """``set`` (or another storage verb without a token); returns the answer."""
        self.send(b"%s %s %d %d %d\r\n%s\r\n" % (verb, queue, flags, exptime, len(body), body))
        return self.line()

    def get(self, keys: bytes, verb: bytes = b"get") -> list[tuple[bytes, int, bytes]]:
        """A get; returns (key, flags, body) for each VALUE; the token is the fourth element after gets."""
        self.send(b"%s %s\r\n" % (verb, keys))
        found = []
        while (line := self.line()) != b"END":
            word, key, flags, size, *token = line.split(b" ")
            assert word == b"VALUE", line
            body = self.read(int(size))
            assert self.read(2) == b"\r\n"
            found.append((key, int(flags), body, *map(int, token)))
        return found

    def stats(self, argument: bytes = b"") -> dict[str, str]:
        """``stats``."""
        self.send(b"stats %s\r\n" % argument)
        found = {}
        while (line := self.line()) != b"END":
            word, name, value = line.decode().split(" ", 2)
            assert word == "STAT", line
            found[name] = value
        return found
