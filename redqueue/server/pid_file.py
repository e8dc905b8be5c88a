"""The pid file, which names the running server and keeps a second one from starting with the same."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from pathlib import Path

log = logging.getLogger(__name__)

_CONTENT = re.compile(rb"\s*([0-9]{1,10})?\s*")
_LONGEST = 32
MODE = 0o644


class BadPidFile(Exception):
    """The pid file cannot be had; the message says what to do."""


class PidFile:
    """A file with the pid of this process in it, from now to :meth:`remove`.

    Whether the server it names still runs is told by a lock on the file, which
    ends with the process: a pid alone may be anybody's by now.

    :raises BadPidFile: where a running server has it, or where it is some other file or cannot be written
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # it is removed from wherever the process may be by then
        try:
            self._fd = self._locked()
        except OSError as error:
            raise BadPidFile(f"--pid_file={path} cannot be written: {error.strerror}") from None
        former = _CONTENT.fullmatch(os.read(self._fd, _LONGEST + 1))
        if former is None:
            os.close(self._fd)
            raise BadPidFile(f"--pid_file={path} has something else than a pid in it; name another file")
        if former[1]:
            log.warning("%s was left behind by a server that has died (pid %s)", path, former[1].decode())
        os.fchmod(self._fd, MODE)  # whatever the umask: it is for everybody to read
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def _locked(self) -> int:
        """The descriptor of the file, locked."""
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, MODE)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_ino == os.stat(self._path).st_ino:
                    return fd
            except BlockingIOError:
                holder = os.read(fd, _LONGEST).decode("ascii", "replace").strip() or "unknown"
                os.close(fd)
                raise BadPidFile(
                    f"{self._path} belongs to a server that runs (pid {holder}); stop that one, or give this one a "
                    f"file of its own with --pid_file"
                ) from None
            except FileNotFoundError:
                pass
            os.close(fd)  # its owner has removed it just now

    def remove(self) -> None:
        """The server ends. Where it may no longer remove the file it is left empty."""
        try:
            os.unlink(self._path)
        except OSError:
            os.ftruncate(self._fd, 0)
        os.close(self._fd)
