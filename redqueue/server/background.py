"""Into the background: the process that was started ends when the server in the background is ready, or has failed."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any, NoReturn

INSTALL = "pip install 'redqueue[daemon]'"
UMASK = 0o027
_READY = b"+"


class Parent:
    """The process that waits for this one to be ready; this one keeps its standard error until then.

    :param pipe: where it reads
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setLevel(logging.WARNING)
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def watch(self, log: logging.Logger) -> None:
        """Have what goes wrong at the start written to standard error, too, wherever ``log`` goes."""
        log.addHandler(self._handler)

    def ready(self, log: logging.Logger) -> None:
        """The server is ready: let the parent end, and its standard error go."""
        log.removeHandler(self._handler)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, sys.stderr.fileno())
        os.close(null)
        with contextlib.suppress(BrokenPipeError):  # it was killed
            os.write(self._pipe, _READY)
        os.close(self._pipe)


def is_installed() -> bool:
    """Whether what :func:`detach` needs is there."""
    return importlib.util.find_spec("daemon") is not None


def detach(keep: Iterable[int]) -> Parent:
    """Go on in the background, in a session of its own; the process that called this never returns.

    It stays in its directory, so that relative paths mean what they say, also later.

    :param keep: descriptors that stay open besides standard error
    """
    from daemon import DaemonContext

    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    first = os.fork()
    if first:
        os.close(writing)
        _await(reading)
    os.close(reading)
    context: Any = DaemonContext(
        detach_process=True,
        files_preserve=[writing, *keep],
        working_directory=os.getcwd(),
        umask=UMASK,
        stderr=sys.stderr,
        prevent_core=False,
        signal_map={},
    )
    context.open()
    os.write(writing, b"%d\n" % os.getpid())
    return Parent(writing)


def _await(pipe: int) -> NoReturn:
    """Wait for the server in the background, and end as it began."""
    said = b""

    def give_up(number: int, frame: FrameType | None) -> None:
        pid = said.partition(b"\n")[0]
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
        os._exit(1)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, give_up)
    while not said.endswith(_READY):
        more = os.read(pipe, 64)
        if not more:
            os._exit(1)  # it has said why, unless it was killed
        said += more
    os._exit(0)
