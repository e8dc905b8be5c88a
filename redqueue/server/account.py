"""The user and group to run as, once what only root may do has been done."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path


class NoAccount(ValueError):
    """There is no such account, or this process cannot become it.

    :param option: the name of the option that says so
    :param what: what it wants instead
    """

    def __init__(self, option: str, what: str) -> None:
        super().__init__(option, what)
        self.option = option
        self.what = what


class NotWritable(Exception):
    """The user to run as cannot write what the server needs; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """A user and a group.

    :ivar user: its name
    :ivar group: the name of the group
    """

    user: str
    group: str
    uid: int
    gid: int

    @classmethod
    def find(cls, user: str, group: str) -> Account | None:
        """The account that the options ``user`` and ``group`` name, each by name or number; None for the present one.

        :raises NoAccount: where there is none of that name, or only root could become it
        """
        if not user:
            if group:
                raise NoAccount("group", "wants the option user as well")
            return None
        entry = _user(user)
        team = _group(group or str(entry.pw_gid))
        if os.geteuid() != 0:
            if (os.geteuid(), os.getegid()) == (entry.pw_uid, team.gr_gid):
                return None
            raise NoAccount("user", "is for root, who alone can become another user; start as root, or without it")
        return cls(entry.pw_name, team.gr_name, entry.pw_uid, team.gr_gid)

    def give(self, path: Path) -> None:
        """Make ``path`` belong to it."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def become(self) -> None:
        """Run as it from here on, for good."""
        os.initgroups(self.user, self.gid)
        os.setgid(self.gid)
        os.setuid(self.uid)

    def check_directory(self, directory: Path) -> None:
        """See whether this process, which runs as it by now, can write ``directory`` and the files there.

        :raises NotWritable: where it cannot
        """
        for path, mode in ((directory, os.R_OK | os.W_OK | os.X_OK), *_files(directory)):
            if not os.access(path, mode):
                raise NotWritable(
                    f"the user {self.user} cannot write {path}; give it the directory with: "
                    f"chown -R {self.user}:{self.group} {directory}"
                )


def _files(directory: Path) -> list[tuple[Path, int]]:
    if not os.access(directory, os.R_OK | os.X_OK):
        return []
    return [(path, os.R_OK | os.W_OK) for path in sorted(directory.iterdir()) if path.is_file()]


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise NoAccount(
            "user", f"wants a user of this machine, not {name}; make one with: useradd --system --no-create-home {name}"
        ) from None


def _group(name: str) -> grp.struct_group:
    try:
        return grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)
    except (KeyError, OverflowError):
        raise NoAccount(
            "group", f"wants a group of this machine, not {name}; make one with: groupadd --system {name}"
        ) from None
