"""``redqueue passwd`` makes and changes the file of the users, and never shows or loses what is in it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from redqueue.access.passwords import hash_password
from redqueue.access.users import read_users
from redqueue.cli.main import main
from tests.cli.tool import COMMAND, environment, redqueue

PASSWORD = b"correct horse\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Where a file of users can be made."""
    return tmp_path / "users"


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests run the command in this process, and with hashes that cost nothing."""
    monkeypatch.setattr("redqueue.cli.passwd.hash_password", partial(hash_password, ln=4, p=1))


def passwd(*arguments: object, password: bytes = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the command; returns its status and output."""
    out, err, stdin = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(password))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["passwd", *map(str, arguments)])
    except SystemExit as error:
        status = int(error.code or 0)
    finally:
        sys.stdin = stdin
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def add(users: Path, name: str, *roles: str, password: bytes = PASSWORD) -> None:
    done = passwd("add", users, name, "--stdin", *roles, password=password)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_a_user_is_added_to_a_new_file_that_its_owner_only_can_read(users: Path) -> None:
    add(users, "alice", "--reader=orders.*", "--reader", "mail", "--writer=logs.#")
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert os.listdir(users.parent) == ["users"]
    known = read_users(users)
    entry = known.find("alice")
    assert entry is not None
    assert list(map(repr, entry.user.grants)) == ["reader=orders.*", "reader=mail", "writer=logs.#"]
    assert known.verify("alice", b"correct horse") is entry.user
    assert b"correct horse" not in users.read_bytes()


def test_admin_alone_is_admin_of_all(users: Path) -> None:
    add(users, "root", "--admin")
    user = read_users(users).get("root")
    assert user is not None
    assert user.rules_all


def test_add_refuses_who_is_there_and_changes_nothing(users: Path) -> None:
    add(users, "alice", "--admin")
    before = users.read_bytes()
    done = passwd("add", users, "alice", "--stdin")
    assert done.returncode == 2
    assert "user 'alice' is there already" in done.stderr
    assert users.read_bytes() == before


def test_change_gives_another_password_and_keeps_the_rest(users: Path) -> None:
    add(users, "alice", "--reader=a")
    add(users, "bob", "--writer=b")
    text = users.read_text().replace("bob", "# about bob\nbob")
    users.write_text(text)
    assert passwd("change", users, "alice", "--stdin", password=b"another one!\n").returncode == 0
    lines = users.read_text().splitlines()
    assert lines[2:] == text.splitlines()[2:]
    assert lines[1] != text.splitlines()[1]
    known = read_users(users)
    assert known.verify("alice", b"another one!") is not None
    assert known.verify("alice", b"correct horse") is None
    assert known.find("alice").user.grants == read_users(users).find("alice").user.grants  # type: ignore[union-attr]
    assert repr(known.find("alice").user.grants) == "(reader=a,)"  # type: ignore[union-attr]


def test_roles_are_replaced_and_the_password_stays(users: Path) -> None:
    add(users, "alice", "--reader=a")
    done = passwd("roles", users, "alice", "--writer=b", "--admin=c.#")
    assert done.stdout == "the roles of 'alice': writer=b, admin=c.#; a running server takes it at SIGHUP\n"
    known = read_users(users)
    assert known.verify("alice", b"correct horse") is not None
    assert passwd("roles", users, "alice").stdout.startswith("the roles of 'alice': none")


def test_delete(users: Path) -> None:
    add(users, "alice", "--admin")
    add(users, "bob", "--admin")
    assert passwd("delete", users, "alice").returncode == 0
    assert [entry.user.name for entry in read_users(users)] == ["bob"]


def test_list_for_people_and_for_programs(users: Path) -> None:
    add(users, "alice", "--reader=a.*", "--writer=b")
    passwd("add", users, "bob", "--stdin")
    assert passwd("list", users).stdout == "alice  reader=a.* writer=b\nbob    no role\n"
    lines = [json.loads(line) for line in passwd("list", users, "--json").stdout.splitlines()]
    assert lines == [
        {"name": "alice", "roles": [{"role": "reader", "pattern": "a.*"}, {"role": "writer", "pattern": "b"}]},
        {"name": "bob", "roles": []},
    ]


def test_verify_says_it_by_its_exit_status(users: Path) -> None:
    add(users, "alice", "--admin")
    right = passwd("verify", users, "alice", "--stdin")
    wrong = passwd("verify", users, "alice", "--stdin", password=b"wrong\n")
    nobody = passwd("verify", users, "nobody", "--stdin")
    assert (right.returncode, right.stdout) == (0, "right\n")
    assert (wrong.returncode, wrong.stdout) == (1, "wrong\n")
    assert (nobody.returncode, nobody.stdout) == (1, "wrong\n")


@pytest.mark.parametrize("action", ["change", "roles", "delete"])
def test_who_is_not_there_is_named(users: Path, action: str) -> None:
    add(users, "alice", "--admin")
    done = passwd(action, users, "carol", *(["--stdin"] if action == "change" else []))
    assert done.returncode == 2
    assert "there is no user 'carol'" in done.stderr


@pytest.mark.parametrize("action", ["change", "roles", "delete", "list", "verify"])
def test_a_missing_file_is_named(users: Path, action: str) -> None:
    arguments = [action, users] + ([] if action == "list" else ["alice"])
    done = passwd(*arguments, *(["--stdin"] if action in ("change", "verify") else []))
    assert done.returncode == 2
    assert str(users) in done.stderr
    assert not users.exists()


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        (b"", "an empty password is none"),
        (b"\n", "an empty password is none"),
        (b"x" * 257 + b"\n", "up to 256 bytes"),
        (b"a\tb\n", "no control characters"),
    ],
)
def test_a_password_that_is_none_is_refused(users: Path, password: bytes, reason: str) -> None:
    done = passwd("add", users, "alice", "--stdin", password=password)
    assert done.returncode == 2
    assert reason in done.stderr
    assert not users.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["add", "a:b", "--stdin"], "a user's name has"),
        (["add", "alice", "--stdin", "--reader=x*"], "whole words between dots"),
        (["add", "alice", "--stdin", "--reader="], "wants the name of a queue or a pattern"),
        (["add", "alice"], "there is no terminal to ask for the password at; give it with --stdin"),
    ],
)
def test_bad_arguments_say_what_to_write(users: Path, arguments: list[str], reason: str) -> None:
    done = passwd(arguments[0], users, *arguments[1:])
    assert done.returncode == 2
    assert reason in done.stderr
    assert not users.exists()


def test_notes_on_what_is_perhaps_not_meant(users: Path) -> None:
    done = passwd("add", users, "alice", "--stdin", "--reader=*", password=b"short\n")
    assert done.returncode == 0
    assert "reader=* is for queues without a dot in their names; reader=# is for all" in done.stderr
    assert "the password is short" in done.stderr
    users.chmod(0o644)
    assert "the server will refuse it: chmod 600" in passwd("list", users).stderr


def test_a_bad_file_is_not_touched(users: Path) -> None:
    users.write_text("alice plain\n")
    done = passwd("add", users, "bob", "--stdin")
    assert done.returncode == 2
    assert f"{users}:1: user 'alice' wants a hash" in done.stderr
    assert users.read_text() == "alice plain\n"


def test_mode_and_link_are_kept(tmp_path: Path, users: Path) -> None:
    add(users, "alice", "--admin")
    users.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(users)
    add(link, "bob", "--admin")
    assert link.is_symlink()
    assert stat.S_IMODE(users.stat().st_mode) == 0o640
    assert len(read_users(users)) == 2


def test_a_disk_that_is_full_loses_nothing(tmp_path: Path, users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from redqueue.access.file import change

    add(users, "alice", "--admin")
    before = users.read_bytes()

    def fsync(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"), change(users) as file:
        file.remove("alice")
    assert users.read_bytes() == before
    assert os.listdir(tmp_path) == ["users"]


def test_changes_at_the_same_time_are_all_kept(users: Path) -> None:
    def add_one(number: int) -> int:
        return redqueue("passwd", "add", users, f"user{number}", "--stdin", "--admin", data=PASSWORD).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(add_one, range(6))) == [0] * 6
    assert len(read_users(users)) == 6


def at_terminal(*arguments: object, typed: list[bytes]) -> tuple[int, str]:
    """Run ``redqueue passwd`` at a terminal; returns its exit status and all that it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(COMMAND[0], [*COMMAND, "passwd", *map(str, arguments)], environment())
    shown = b""
    try:
        for number, line in enumerate(typed, 1):
            while shown.count(b": ") < number:  # it has turned the echo off before it asks
                shown += os.read(terminal, 1000)
            os.write(terminal, line + b"\n")
        while data := os.read(terminal, 1000):
            shown += data
    except OSError:  # the end, on Linux
        pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_at_a_terminal_it_asks_twice_and_shows_nothing(users: Path) -> None:
    status, shown = at_terminal("add", users, "alice", "--admin", typed=[b"correct horse", b"correct horse"])
    assert status == 0, shown
    assert "Password of alice:" in shown
    assert "Again:" in shown
    assert "correct horse" not in shown
    assert read_users(users).verify("alice", b"correct horse") is not None


def test_two_passwords_are_refused(users: Path) -> None:
    status, shown = at_terminal("add", users, "alice", "--admin", typed=[b"correct horse", b"correct house"])
    assert status == 2
    assert "these were two passwords" in shown
    assert not users.exists()
