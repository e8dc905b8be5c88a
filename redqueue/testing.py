"""A real server for the tests of a program that uses one.

With ``pytest_plugins = ["redqueue.testing"]`` in a ``conftest.py`` tests get it as the fixture ``redqueue_server``;
elsewhere :func:`running_server` is a context manager.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

try:
    import pytest
except ImportError:  # running_server needs none
    pytest = None  # type: ignore[assignment]

START_SECONDS = 30.0
STOP_SECONDS = 20.0
_READY = re.compile(r"RedQueue \S+ ready on (\S+):(\d+)\s")


@dataclass
class RunningServer:
    """A server process of its own, on a free port of 127.0.0.1.

    :ivar host: where it listens
    :ivar port: the same port after a :meth:`restart`
    :ivar journal: the directory of its journal
    :ivar log: the lines it has written
    """

    journal: Path
    options: dict[str, object]
    host: str = "127.0.0.1"
    port: int = 0
    log: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, as clients take them."""
        return self.host, self.port

    def start(self) -> None:
        """Start it, and wait until it is ready.

        :raises RuntimeError: with what it said, where it ends instead
        """
        options = {"host": self.host, "http_port": 0, "logdir": self.journal, **self.options, "port": self.port}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "redqueue", *(f"--{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process, lines), daemon=True)
        self._reader.start()
        deadline = monotonic() + START_SECONDS
        said = ""
        while (match := _READY.search(said)) is None:
            try:
                line = lines.get(timeout=max(0, deadline - monotonic()))
            except Empty:
                line = ""
            if not line:
                self.kill()
                raise RuntimeError(f"the server is not ready after {START_SECONDS:g} s, or has ended:\n{said}")
            said += line
        self.port = int(match[2])

    def _read(self, process: subprocess.Popen[str], lines: SimpleQueue[str]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.log.append(line)
                lines.put(line)
        lines.put("")

    def stop(self) -> None:
        """End it in good order; what is on its queues stays in the journal."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def restart(self) -> None:
        """:meth:`stop`, and :meth:`start` on the same port and journal."""
        self.stop()
        self.start()


@contextmanager
def running_server(**options: object) -> Iterator[RunningServer]:
    """A server with an empty journal in a temporary directory; it is gone with it at the end.

    :param options: of the server, without dashes: ``max_items=10``
    :raises RuntimeError: where it does not start
    """
    with tempfile.TemporaryDirectory(prefix="redqueue-") as directory:
        server = RunningServer(Path(directory) / "journal", options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


if pytest is not None:

    @pytest.fixture
    def redqueue_server() -> Iterator[RunningServer]:
        """A server for one test."""
        with running_server() as server:
            yield server
