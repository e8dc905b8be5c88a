"""The servers that are compared: how each is started, watched and stopped."""

from __future__ import annotations

import argparse
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.dialects import DIALECTS
from benchmarks.interrupts import SIGNALS, deferred

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 30.0
PORTS = range(20000, 30000)
"""Where ports for the peers are looked for: below those that Linux gives to outgoing connections."""
ATTEMPTS = 5


class ServerError(Exception):
    """A server did not start or does not answer; the message says which and what it wrote."""


@dataclass(frozen=True)
class Program:
    """A server that can be measured.

    :ivar executable: what is looked for on PATH; empty: it is in this repository
    :ivar package: Debian's name for what to install
    :ivar version: arguments that make it print its version
    :ivar command: makes the command line from executable, port, directory and options
    """

    executable: str
    package: str
    version: tuple[str, ...]
    command: Callable[[str, int, Path, tuple[str, ...]], list[str]]

    def find(self) -> str | None:
        """The path of the executable; None where it is not installed."""
        return shutil.which(self.executable) if self.executable else sys.executable


def _redqueue(executable: str, port: int, directory: Path, options: tuple[str, ...]) -> list[str]:
    return [
        executable,
        str(ROOT / "bin" / "redqueue_server.py"),
        "--port=0",
        "--http_port=0",
        f"--logdir={directory}",
        *options,
    ]


def _memcached(executable: str, port: int, directory: Path, options: tuple[str, ...]) -> list[str]:
    user = ["-u", pwd.getpwuid(0).pw_name] if os.geteuid() == 0 else []
    return [executable, "-l", HOST, "-p", str(port), "-U", "0", *user, *options]


def _beanstalkd(executable: str, port: int, directory: Path, options: tuple[str, ...]) -> list[str]:
    return [executable, "-l", HOST, "-p", str(port), "-b", str(directory), *options]


def _redis(executable: str, port: int, directory: Path, options: tuple[str, ...]) -> list[str]:
    # No snapshots and no rewriting of its log: both fork a process that would go uncounted.
    own = ["--save", "", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--daemonize", "no"]
    return [executable, "--bind", HOST, "--port", str(port), "--dir", str(directory), *own, *options]


PROGRAMS = {
    "RedQueue": Program("", "", (str(ROOT / "bin" / "redqueue_server.py"), "--version"), _redqueue),
    "memcached": Program("memcached", "memcached", ("-V",), _memcached),
    "beanstalkd": Program("beanstalkd", "beanstalkd", ("-v",), _beanstalkd),
    "redis": Program("redis-server", "redis-server", ("--version",), _redis),
}
"""By name; the first is ours, the others are its peers."""
OURS = "RedQueue"


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("REDQUEUE_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def version(name: str) -> str | None:
    """The version of an installed server; None where it is not installed."""
    program = PROGRAMS[name]
    executable = program.find()
    if executable is None:
        return None
    command = [executable, *program.version]
    answer = subprocess.run(
        command, capture_output=True, text=True, env=_environment(), stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    found = re.search(r"\d+\.\d+[\w.]*", answer.stdout + answer.stderr)
    return found[0] if found else "of unknown version"


@dataclass(frozen=True)
class Setting:
    """A server with the options it is measured with.

    :ivar label: the options as the table shows them
    """

    name: str
    label: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.label}".rstrip()


class Server:
    """A running server; a context manager that ends it.

    :param directory: where its journal is or will be; it stays when the server has ended
    :param cpu: the CPU it and its threads are pinned to; None: where the system likes
    :raises ServerError: on entry, when it does not start
    """

    def __init__(self, setting: Setting, directory: Path, cpu: int | None) -> None:
        self.setting = setting
        self.port = 0
        self._directory = directory
        self._cpu = cpu
        self._log = directory.with_name(directory.name + ".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return HOST, self.port

    @property
    def log(self) -> str:
        """What it has written to its standard streams."""
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Server:
        self._directory.mkdir(exist_ok=True)
        try:
            for attempt in range(ATTEMPTS):
                self.port = 0 if self.setting.name == OURS else _free_port()
                self._launch()
                if self._wait():
                    return self
                if attempt == ATTEMPTS - 1 or self.setting.name == OURS:
                    break  # a peer may have lost its port to somebody else meanwhile
        except BaseException:
            self._end()
            raise
        self._end()
        raise ServerError(f"{self.setting} did not start: {self.log.strip()[-300:] or 'it wrote nothing'}")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _launch(self) -> None:
        command = self._command()
        with open(self._log, "wb") as log, deferred():
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                preexec_fn=self._settle,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends the server
            )

    def _command(self) -> list[str]:
        """What is run."""
        program = PROGRAMS[self.setting.name]
        executable = program.find()
        if executable is None:
            raise ServerError(f"{self.setting.name} is not installed")
        return program.command(executable, self.port, self._directory, self.setting.options)

    def _settle(self) -> None:
        if self._cpu is not None:
            os.sched_setaffinity(0, {self._cpu})
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _wait(self) -> bool:
        """Await its readiness; False where it ended instead."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None:
            if self._is_ready():
                return True
            if time.monotonic() > deadline:
                raise ServerError(f"{self.setting} was not ready after {START_SECONDS:g} s")
            time.sleep(0.01)
        return False

    def _is_ready(self) -> bool:
        if self.setting.name == OURS:
            found = re.search(r"RedQueue \S+ ready on \S+:(\d+)\n", self.log)
            if found:
                self.port = int(found[1])
            return found is not None
        try:
            socket.create_connection(self.address, 1).close()
        except OSError:
            return False
        return True

    def _end(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except BaseException as error:
            process.kill()
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise

    # -- what the kernel and the server say ------------------------------------------

    def cpu_seconds(self) -> float:
        """CPU time of the process and all its threads, as the kernel accounts it."""
        try:
            # The CPU clock of another process: clock_getcpuclockid(3), to the nanosecond.
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Its resident set (RSS)."""
        for name in ("smaps_rollup", "status"):  # the second is approximate
            try:
                text = Path(f"/proc/{self.pid}/{name}").read_text()
            except OSError:
                continue
            found = re.search(r"^(?:Rss|VmRSS):\s+(\d+) kB", text, re.MULTILINE)
            if found:
                return int(found[1]) << 10
        raise ServerError(f"the RSS of {self.setting} cannot be read")

    def peak_bytes(self) -> int:
        """The largest resident set it has had (VmHWM)."""
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        if found is None:
            raise ServerError(f"the peak RSS of {self.setting} cannot be read")
        return int(found[1]) << 10

    def items(self) -> int:
        """How many items it says it holds.

        :raises ServerError: it does not say
        """
        request, pattern = DIALECTS[self.setting.name].sized
        reply = b""
        try:
            with socket.create_connection(self.address, ANSWER_SECONDS) as connection:
                connection.sendall(request)
                while not (found := pattern.search(reply)):
                    data = connection.recv(65536)
                    if not data:
                        raise ServerError(f"{self.setting} does not say how many items it holds")
                    reply += data
        except OSError as error:
            raise ServerError(f"{self.setting} does not say how many items it holds: {error}") from error
        return int(found[1])


def existing_directory(text: str) -> Path:
    """The type of a command line's argument: a directory that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"wants a directory, not {text!r}")
    return path


def _free_port() -> int:
    for _ in range(100):
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise ServerError(f"no free port between {PORTS.start} and {PORTS.stop}")
