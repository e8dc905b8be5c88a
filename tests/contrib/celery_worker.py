"""A Celery worker in processes of its own, and what its tasks have written down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.server_process import ROOT, ServerProcess, wait_until

START_SECONDS = 60.0
END_SECONDS = 60.0


def broker_url(server: ServerProcess) -> str:
    return f"redqueue://127.0.0.1:{server.port}//"


class Worker:
    """``celery worker`` for :mod:`tests.contrib.celery_app`, ready inside the context and ended behind it.

    :param broker: its URL
    :param notes: the file in which its tasks write
    :param arguments: of ``celery worker``
    :param settings: of Celery
    """

    def __init__(self, broker: str, notes: Path, *arguments: str, **settings: Any) -> None:
        self.notes = notes
        self._broker = broker
        self._arguments = arguments
        self._settings = settings
        self._log = notes.with_suffix(".log")
        self.name = f"worker{id(self)}@localhost"
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def environment(self) -> dict[str, str]:
        """In which the application has the same settings as in the worker."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TEST_BROKER": self._broker,
            "TEST_BACKEND": "rpc://",
            "TEST_NOTES": str(self.notes),
            "TEST_SETTINGS": json.dumps(self._settings),
        }

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.contrib.celery_app", "worker", "-l", "info"),
                    *(f"--hostname={self.name}", *self._arguments),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=ROOT,
                start_new_session=True,
            )
        wait_until(lambda: " ready." in self.log or self.process.poll() is not None, START_SECONDS, "the worker")
        assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        """What it has said since its start."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """Send SIGTERM and wait for the warm shutdown; fails where it was not one."""
        self.process.terminate()
        status = self.process.wait(END_SECONDS)
        assert status == 0, self.log

    def kill_main(self) -> None:
        """kill -9, but only the process that has the connections."""
        self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        """kill -9 all of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def noted(self, *words: object) -> list[str]:
        """The lines that begin with these words."""
        start = " ".join(map(str, words)) + " "
        if not self.notes.exists():
            return []
        return [line for line in self.notes.read_text().splitlines() if (line + " ").startswith(start)]
