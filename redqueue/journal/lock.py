"""The lock file that keeps a second server out of a journal."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK = "lock"
"""Name of the file."""


class JournalInUse(Exception):
    """Another process holds the lock."""


class Lock:
    """An exclusive flock(2) on ``DIRECTORY/lock``, held until :meth:`release` or the process ends.

    :raises JournalInUse: where another process has it; the message names its pid
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalInUse(
                f"{directory} is in use by another server (pid {holder}); stop that one, or give this one "
                f"a journal of its own with --logdir"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another server have the journal. The file stays: removing it would race with its next holder."""
        os.close(self._fd)
