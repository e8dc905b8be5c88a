"""The file of the users.

One user a line: name, hash of the password, roles, with spaces between them::

    # who            the password                     what they may do
    alice $scrypt$ln=14,r=8,p=5$SALT$HASH reader=orders.* writer=orders.new
    root  $scrypt$ln=14,r=8,p=5$SALT$HASH admin=#

Empty lines and those that begin with ``#`` are left alone. ``redqueue passwd`` writes such files.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redqueue.access.passwords import LN, BadHash, P, PasswordHash, R, parse_hash
from redqueue.access.roles import BadGrant, Grant, User, parse_grant

MAX_NAME = 64
"""Bytes of a user's name."""
MAX_FILE = 4 << 20
"""Bytes."""
FORBIDDEN_MODE = 0o027
"""Others may not read the file, nor the group write it: the group may be the one that the server runs in."""

_NAME = re.compile(r"[^\s:#\x00-\x1f\x7f][^\s:\x00-\x1f\x7f]*")


class BadUsers(ValueError):
    """A file of users that cannot be used; the message says where, and what to do."""


@dataclass(frozen=True)
class Entry:
    """A user as in the file."""

    user: User
    password: PasswordHash

    def line(self) -> str:
        """As it is written, without the end of the line."""
        return " ".join((self.user.name, str(self.password), *map(repr, self.user.grants)))


class Users:
    """Everybody who is known.

    :raises BadUsers: for two of one name
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            if entry.user.name in self._entries:
                raise BadUsers(f"there are two users {entry.user.name!r}; leave one")
            self._entries[entry.user.name] = entry
        dearest = max((each.password for each in self), key=lambda each: each.cost, default=None)
        if dearest is None:
            dearest = PasswordHash(LN, R, P, bytes(16), bytes(32))
        self._decoy = dearest.decoy()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def find(self, name: str) -> Entry | None:
        """The entry of a user, or None."""
        return self._entries.get(name)

    def get(self, name: str) -> User | None:
        """A user by name, who has not been asked for a password; or None."""
        entry = self._entries.get(name)
        return entry.user if entry is not None else None

    def verify(self, name: str, password: bytes) -> User | None:
        """The user of that name and password, or None.

        Takes long, as is meant, and as long for a user that there is not: call it in a thread.
        """
        entry = self._entries.get(name)
        matches = (self._decoy if entry is None else entry.password).matches(password)
        return entry.user if entry is not None and matches else None


def check_name(name: str) -> str:
    """A name that a user can have: it is returned as it is.

    :raises BadUsers: for any other
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > MAX_NAME:
        raise BadUsers(
            f"a user's name has up to {MAX_NAME} bytes, without spaces, colons and control characters, and does not "
            f"begin with #, unlike {name!r}"
        )
    return name


def parse_line(line: str) -> Entry:
    """The user of a line.

    :raises BadUsers: with what is wrong with it
    """
    name, *rest = line.split()
    check_name(name)
    if not rest:
        raise BadUsers(f"user {name!r} wants a hash behind the name")
    try:
        grants: list[Grant] = [parse_grant(word) for word in rest[1:]]
        return Entry(User(name, grants), parse_hash(rest[0]))
    except BadHash as error:
        raise BadUsers(f"user {name!r} {error}; set the password anew with redqueue passwd change") from None
    except BadGrant as error:
        raise BadUsers(f"user {name!r}: {error}") from None


def parse_users(text: str, shown: str) -> Users:
    """The users of a file.

    :param shown: the file's name, for messages
    :raises BadUsers: with the line and what is wrong with it
    """
    entries = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            entry = parse_line(line)
        except BadUsers as error:
            raise BadUsers(f"{shown}:{number}: {error}") from None
        before = lines.setdefault(entry.user.name, number)
        if before != number:
            raise BadUsers(
                f"{shown}:{number}: user {entry.user.name!r} is in line {before} already; leave one of the two"
            )
        entries.append(entry)
    return Users(entries)


def read_users(path: Path) -> Users:
    """The users of the file ``path``, which only its owner, and its group for reading, may have access to.

    :raises BadUsers: where it cannot be used, with what to do
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            if not stat.S_ISREG(status.st_mode):
                raise BadUsers(f"{path} is no file")
            if mode & FORBIDDEN_MODE:
                raise BadUsers(
                    f"{path} has the mode {mode:04o}, with which others can read or change it: chmod 600 {path}"
                )
            if status.st_size > MAX_FILE:
                raise BadUsers(f"{path} is greater than {MAX_FILE >> 20} MB")
            text = file.read(MAX_FILE + 1).decode()
    except OSError as error:
        raise BadUsers(f"{path} cannot be read: {error.strerror}; redqueue passwd add makes it") from None
    except UnicodeDecodeError as error:
        raise BadUsers(f"{path} is not UTF-8: {error}") from None
    return parse_users(text, str(path))
