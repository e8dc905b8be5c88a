"""Programs of examples/, run as their READMEs say."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tests.server_process import ROOT, wait_until

EXAMPLES = ROOT / "examples"


class Program:
    """``python examples/<path>`` with its arguments, in a process of its own; killed at the end of the ``with``.

    :ivar lines: what it has written, to standard output and standard error, without line ends
    """

    def __init__(self, path: str, *arguments: str) -> None:
        self._name = path
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLES / path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def line_with(self, text: str) -> str:
        """Wait for a line that has ``text`` in it, and return it."""

        def found() -> list[str]:
            lines = [line for line in list(self.lines) if text in line]
            assert lines or self._process.poll() is None, f"{self._name} has ended: {self.lines}"
            return lines

        wait_until(found, seconds=60, what=f"{text!r} from {self._name}")
        return found()[0]

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def config(example: str) -> Path:
    """The example's own configuration of the server."""
    return EXAMPLES / example / "redqueue.toml"
