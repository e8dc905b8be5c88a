"""What can be said of options before anything is started: together, and with the files that they name.

All of them are checked at the start, by ``--check-config``, and before SIGHUP
puts new ones in force. Nothing is opened for writing, made or bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from redqueue.config.configuration import Configuration
from redqueue.config.kinds import BadOption
from redqueue.options import Options
from redqueue.server.access import check_users
from redqueue.server.account import Account, NoAccount
from redqueue.server.background import INSTALL, is_installed
from redqueue.server.tls import check_tls

Complaint = tuple[str, str]
"""The name of an option, and what it wants instead."""

_LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket, by unix(7)."""


def check_unix_socket(options: Options) -> Iterator[Complaint]:
    """The path of the socket is one that a socket may have, in a directory that is there."""
    path = options.unix_socket
    if not path:
        return
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        yield "unix_socket", f"wants a path of up to {_LONGEST_SOCKET} bytes, not {path}"
    yield from _in_directory("unix_socket", Path(path))


def check_logdir(options: Options) -> Iterator[Complaint]:
    """The journal's directory is a directory, or nothing yet."""
    path = Path(options.logdir)
    if options.reliable != "no" and path.exists() and not path.is_dir():
        yield "logdir", f"wants a directory, which {path} is not"


def check_log_file(options: Options) -> Iterator[Complaint]:
    """The log can be written where it is to be."""
    if not options.log_file:
        return
    path = Path(options.log_file)
    if path.is_dir():
        yield "log_file", f"wants a file, and {path} is a directory"
    elif path.exists() and not os.access(path, os.W_OK):
        yield "log_file", f"wants a file that may be written, which {path} may not be"
    yield from _in_directory("log_file", path)


def check_daemonize(options: Options) -> Iterator[Complaint]:
    """What is in the background has somewhere to log to, and the library for going there."""
    if not options.daemonize:
        return
    if not options.log_file:
        yield "daemonize", "wants the option log_file as well, because nobody sees standard error in the background"
    if not is_installed():
        yield "daemonize", f"needs python-daemon, which is not installed: {INSTALL}"


def check_pid_file(options: Options) -> Iterator[Complaint]:
    """The pid file can be written where it is to be."""
    if options.pid_file:
        yield from _in_directory("pid_file", Path(options.pid_file))


def check_account(options: Options) -> Iterator[Complaint]:
    """There is the user to run as, and we can become it."""
    try:
        Account.find(options.user, options.group)
    except NoAccount as error:
        yield error.option, error.what


def _in_directory(name: str, path: Path) -> Iterator[Complaint]:
    directory = path.absolute().parent
    if not directory.is_dir():
        yield name, f"wants to be in a directory that exists, which {directory} does not"
    elif not path.exists() and not os.access(directory, os.W_OK):
        yield name, f"wants to be in a directory that may be written, which {directory} may not be"


CHECKS: tuple[Callable[[Options], Iterable[Complaint]], ...] = (
    check_unix_socket,
    check_logdir,
    check_log_file,
    check_users,
    check_daemonize,
    check_pid_file,
    check_account,
    check_tls,
)
"""Each says what is wrong with some options. They may block."""


def check(configuration: Configuration) -> None:
    """Check everything.

    :raises BadOption: with all that is wrong, and where it is set
    """
    complaints = [
        f"{configuration.settings[name].shown(name)} {what}"
        for each in CHECKS
        for name, what in each(configuration.options)
    ]
    if complaints:
        raise BadOption("\n".join(complaints))
