"""A RabbitMQ of one's own, with all that it starts and writes in a directory and on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from benchmarks.servers import HOST, ServerError

PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own script beside it changes the user, and would write to /var."""
START_SECONDS = 120.0


def version() -> str | None:
    """The version that is installed; None where there is none."""
    if not PROGRAM.exists():
        return None
    answer = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", "rabbitmq-server"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.partition("-")[0] or "of unknown version"


class RabbitMQ:
    """A running broker; a context manager that ends it.

    :param directory: where it writes
    :raises ServerError: on entry, when it does not start
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """For Celery."""
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def __enter__(self) -> RabbitMQ:
        self._directory.mkdir(parents=True)
        self.port, distribution, epmd = (_free_port() for _ in range(3))
        self._environment = {
            **os.environ,
            "HOME": str(self._directory),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self._directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_PID_FILE": str(self._directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        with open(self._directory / "out", "wb") as out:
            self._process = subprocess.Popen(
                [PROGRAM],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection((HOST, self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.1)
        self.__exit__(None, None, None)
        raise ServerError(f"rabbitmq did not start: {(self._directory / 'out').read_text(errors='replace')[-500:]}")

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if epmd := shutil.which("epmd"):
            subprocess.run([epmd, "-kill"], env=self._environment, capture_output=True, check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
