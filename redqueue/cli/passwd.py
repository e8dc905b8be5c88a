"""``redqueue passwd``: the file of the users."""

from __future__ import annotations

import argparse
import getpass
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from redqueue.access.file import change
from redqueue.access.passwords import MAX_PASSWORD, hash_password
from redqueue.access.roles import EVERYTHING, BadGrant, Grant, Role, User
from redqueue.access.users import FORBIDDEN_MODE, Entry, Users, check_name, parse_users
from redqueue.cli.command import GOOD, CommandFailed, SubParsers, add_command

WRONG = 1
"""The password is not that of the user."""
SHORT = 12
"""Characters; a password that people choose and that is shorter is found by trying."""

DESCRIPTION = """
Make and change the file of the users, which the server reads with --users=FILE. Passwords are hashed with scrypt. They
are asked for twice, without being shown, or read from standard input with --stdin: never given as an argument, which
everybody on the machine can see. The file is written beside the old one, synced, and put in its place; a new one can
be read by its owner only. A running server takes it at SIGHUP (systemctl reload redqueue).
"""

ROLES = """
roles, each for one queue or for all that match a pattern, and as often as there are queues:
  --reader PATTERN  take items, acknowledge them and give them back; look at them and at the figures of the queue
  --writer PATTERN  put items
  --admin PATTERN   all of that, and the operators' verbs; --admin alone is --admin=#

A pattern is words with dots between them, as in the tables of settings: * stands for one word, # for any number of
them. orders.* is orders.new but not orders; orders.# is both; # is every queue.
"""

STATUSES = """
exit status:
  0  done; the password is right
  1  verify: it is wrong, or there is no such user
  2  not done, for the reason on standard error
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command and its actions."""
    parser = add_command(
        subparsers,
        "passwd",
        None,
        summary="make and change the file of the users",
        description=DESCRIPTION,
        epilog="`redqueue passwd ACTION --help` explains each; docs/security.md has examples.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = add_command(
        actions,
        "add",
        run_add,
        summary="add a user; make the file where it is missing",
        description="Add a user, with a password and roles. The file is made where it is missing.",
        epilog=ROLES + STATUSES,
    )
    _add_arguments(add, roles=True, password=True)
    change_ = add_command(
        actions,
        "change",
        run_change,
        summary="give a user another password",
        description="Give a user another password. Their connections are closed when the server takes the file.",
        epilog=STATUSES,
    )
    _add_arguments(change_, password=True)
    roles = add_command(
        actions,
        "roles",
        run_roles,
        summary="give a user other roles",
        description="Give a user these roles in the place of those they had; none where none is given.",
        epilog=ROLES + STATUSES,
    )
    _add_arguments(roles, roles=True)
    delete = add_command(
        actions,
        "delete",
        run_delete,
        summary="delete a user",
        description="Delete a user. Their connections are closed when the server takes the file.",
        epilog=STATUSES,
    )
    _add_arguments(delete)
    list_ = add_command(
        actions,
        "list",
        run_list,
        summary="the users and their roles",
        description="List the users and their roles.",
        epilog=STATUSES,
    )
    list_.add_argument("users", metavar="FILE", type=Path, help="the file of the users")
    list_.add_argument("--json", action="store_true", help="a JSON object for each user, one a line")
    verify = add_command(
        actions,
        "verify",
        run_verify,
        summary="is this the user's password?",
        description="Tell whether a password is that of a user. It takes the same time where there is no such user.",
        epilog=STATUSES,
    )
    _add_arguments(verify, password=True)


def _add_arguments(parser: argparse.ArgumentParser, *, roles: bool = False, password: bool = False) -> None:
    parser.add_argument("users", metavar="FILE", type=Path, help="the file of the users")
    parser.add_argument("name", metavar="NAME", help="the user's name, without spaces and colons")
    if password:
        parser.add_argument("--stdin", action="store_true", help="read the password from standard input, one line")
    if roles:
        for role in Role:
            parser.add_argument(
                f"--{role.value}",
                dest="grants",
                metavar="PATTERN",
                action="append",
                nargs="?" if role is Role.ADMIN else None,
                const=Grant(role, EVERYTHING) if role is Role.ADMIN else None,
                type=_grant_of(role),
                help=f"the role {role.value} for the queues that match",
            )


def _grant_of(role: Role) -> Callable[[str], Grant]:
    def parse(pattern: str) -> Grant:
        try:
            return Grant(role, pattern)
        except BadGrant as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def run_add(options: argparse.Namespace) -> int:
    """Add a user."""
    name = check_name(options.name)
    with change(options.users, may_be_missing=True) as file:
        _refuse_known(file.users, name)
    password = _ask(options, twice=True)
    with change(options.users, may_be_missing=True) as file:
        _refuse_known(file.users, name)
        file.put(Entry(User(name, _grants(options)), hash_password(password)))
    _say_done(options, f"user {name!r} added")
    if not options.grants:
        _note(f"{name!r} has no role, and may do nothing; redqueue passwd roles gives some")
    return GOOD


def run_change(options: argparse.Namespace) -> int:
    """Give a user another password."""
    _entry(_read(options.users), options.name)
    hashed = hash_password(_ask(options, twice=True))
    with change(options.users) as file:
        file.put(Entry(_entry(file.users, options.name).user, hashed))
    _say_done(options, f"user {options.name!r} has another password")
    return GOOD


def run_roles(options: argparse.Namespace) -> int:
    """Give a user other roles."""
    grants = _grants(options)
    with change(options.users) as file:
        file.put(Entry(User(options.name, grants), _entry(file.users, options.name).password))
    _say_done(options, f"the roles of {options.name!r}: {', '.join(map(repr, grants)) or 'none'}")
    return GOOD


def run_delete(options: argparse.Namespace) -> int:
    """Delete a user."""
    with change(options.users) as file:
        _entry(file.users, options.name)
        file.remove(options.name)
    _say_done(options, f"user {options.name!r} deleted")
    return GOOD


def run_list(options: argparse.Namespace) -> int:
    """Print the users."""
    users = _read(options.users)
    if options.json:
        for entry in users:
            roles = [{"role": grant.role.value, "pattern": grant.pattern} for grant in entry.user.grants]
            print(json.dumps({"name": entry.user.name, "roles": roles}))
    else:
        width = max((len(entry.user.name) for entry in users), default=0)
        for entry in users:
            print(f"{entry.user.name:<{width}}  {' '.join(map(repr, entry.user.grants)) or 'no role'}")
    _check_mode(options.users)
    return GOOD


def run_verify(options: argparse.Namespace) -> int:
    """Tell whether a password is right."""
    users = _read(options.users)
    if users.verify(options.name, _ask(options, twice=False)) is None:
        print("wrong")
        return WRONG
    print("right")
    return GOOD


def _read(path: Path) -> Users:
    try:
        return parse_users(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{path} is not UTF-8: {error}") from None


def _entry(users: Users, name: str) -> Entry:
    entry = users.find(name)
    if entry is None:
        raise CommandFailed(f"there is no user {name!r}; redqueue passwd list shows who there is")
    return entry


def _refuse_known(users: Users, name: str) -> None:
    if users.find(name) is not None:
        raise CommandFailed(f"user {name!r} is there already; change gives another password, roles gives other roles")


def _grants(options: argparse.Namespace) -> list[Grant]:
    grants = list(dict.fromkeys(options.grants or ()))
    for grant in grants:
        if "*" in grant.pattern and "." not in grant.pattern and "+" not in grant.pattern:
            _note(f"{grant!r} is for queues without a dot in their names; {grant.role.value}={EVERYTHING} is for all")
    return grants


def _ask(options: argparse.Namespace, *, twice: bool) -> bytes:
    """A password, from the terminal or from a line of standard input."""
    if options.stdin:
        password = sys.stdin.buffer.readline(MAX_PASSWORD + 2).removesuffix(b"\n").removesuffix(b"\r")
    elif not sys.stdin.isatty():
        raise CommandFailed("there is no terminal to ask for the password at; give it with --stdin")
    else:
        password = getpass.getpass(f"Password of {options.name}: ").encode()
        if twice and getpass.getpass("Again: ").encode() != password:
            raise CommandFailed("these were two passwords; nothing is changed")
    if not password:
        raise CommandFailed("an empty password is none")
    if len(password) > MAX_PASSWORD:
        raise CommandFailed(f"a password has up to {MAX_PASSWORD} bytes")
    if any(byte < 0x20 or byte == 0x7F for byte in password):
        raise CommandFailed("a password has no control characters, which some clients could not send")
    if twice and len(password) < SHORT:
        _note(f"the password is short; one of {SHORT} characters or more is harder to find by trying")
    return password


def _say_done(options: argparse.Namespace, what: str) -> None:
    print(f"{what}; a running server takes it at SIGHUP")
    _check_mode(options.users)


def _check_mode(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & FORBIDDEN_MODE:
        _note(f"others can read or change {path} (mode {mode:04o}), and the server will refuse it: chmod 600 {path}")


def _note(text: str) -> None:
    print(f"redqueue: {text}", file=sys.stderr)
