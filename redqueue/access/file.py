"""Changes of the file of the users: one line at a time, all or nothing, and readable by nobody else meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from redqueue.access.users import BadUsers, Entry, Users, parse_users

NEW_MODE = 0o600
HEADER = "# The users of RedQueue: name, hash of the password, roles. Change it with: redqueue passwd\n"


class UsersFile:
    """The file, while it is being changed. Made by :func:`change`.

    :ivar users: everybody in it
    """

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines(keepends=True)
        self.users: Users = parse_users(text, str(path))

    def put(self, entry: Entry) -> None:
        """Write a user, in the place of the line that is theirs, or at the end."""
        line = entry.line() + "\n"
        number = self._find(entry.user.name)
        if number is None:
            if self._lines and not self._lines[-1].endswith("\n"):
                self._lines[-1] += "\n"
            self._lines.append(line)
        else:
            self._lines[number] = line
        self._replace()

    def remove(self, name: str) -> None:
        """Delete the line of a user, who is there."""
        number = self._find(name)
        assert number is not None
        del self._lines[number]
        self._replace()

    def _find(self, name: str) -> int | None:
        for number, line in enumerate(self._lines):
            words = line.split()
            if words and words[0] == name:
                return number
        return None

    def _replace(self) -> None:
        """Write the file anew beside the old one, see it on the disk, and put it in its place."""
        text = "".join(self._lines)
        self.users = parse_users(text, str(self._path))
        try:
            before: os.stat_result | None = os.stat(self._path)
        except FileNotFoundError:
            before = None
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, NEW_MODE)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                if before is not None:
                    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def change(path: Path, *, may_be_missing: bool = False) -> Iterator[UsersFile]:
    """The file ``path`` for changing; nobody else who changes files of its directory this way does so meanwhile.

    :param may_be_missing: whether it is made where it is not there
    :raises BadUsers: where it has a bad line, or is missing
    :raises OSError: where it cannot be read or written
    """
    path = Path(os.path.realpath(path))  # or a link would be replaced by the file
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if not may_be_missing:
                raise BadUsers(f"{path} is not there; redqueue passwd add makes it") from None
            text = HEADER
        except UnicodeDecodeError as error:
            raise BadUsers(f"{path} is not UTF-8: {error}") from None
        yield UsersFile(path, text)
    finally:
        os.close(directory)
