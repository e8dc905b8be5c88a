"""Hashes of passwords, and the file of the users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from redqueue.access.passwords import BadHash, hash_password, parse_hash
from redqueue.access.roles import Role, User, parse_grant
from redqueue.access.users import BadUsers, Entry, Users, check_name, parse_users, read_users

HASH = hash_password(b"secret", ln=4, r=8, p=1)


def test_a_hash_is_written_and_read_again() -> None:
    again = parse_hash(str(HASH))
    assert again == HASH
    assert again.matches(b"secret")
    assert not again.matches(b"Secret")
    assert not again.matches(b"")


def test_a_hash_is_scrypt_as_in_rfc_7914() -> None:
    # RFC 7914 section 12: scrypt("password", "NaCl", N=1024, r=8, p=16, dkLen=64)
    digest = bytes.fromhex(
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d"
        "8360cbdfa2cc0640"
    )
    from base64 import b64encode

    # its salt is shorter than what this accepts in a file
    with pytest.raises(BadHash, match="salt of 8 to 64 bytes"):
        parse_hash(f"$scrypt$ln=10,r=8,p=16$TmFDbA${b64encode(digest).decode().rstrip('=')}")
    from redqueue.access.passwords import PasswordHash

    assert PasswordHash(10, 8, 16, b"NaCl", digest).matches(b"password")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$2b$12$abc",
        "$scrypt$ln=30,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=14,r=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=14,r=8,p=99$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=14,r=8,p=1$A$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAA",
    ],
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(BadHash):
        parse_hash(text)


def test_a_file_of_users() -> None:
    users = parse_users(f"# who\n\n  \nalice {HASH} reader=a.* writer=b\nbob\t{HASH}\n", "users")
    assert len(users) == 2
    alice = users.get("alice")
    assert alice is not None
    assert alice.may(Role.READER, b"a.x")
    assert alice.may(Role.WRITER, b"b")
    assert users.get("carol") is None
    assert [entry.line() for entry in users] == [f"alice {HASH} reader=a.* writer=b", f"bob {HASH}"]


def test_only_name_and_password_together_are_right() -> None:
    other = hash_password(b"other", ln=4, r=8, p=1)
    users = parse_users(f"alice {HASH}\nbob {other}\n", "users")
    assert users.verify("alice", b"secret") is users.get("alice")
    assert users.verify("alice", b"other") is None
    assert users.verify("bob", b"secret") is None
    assert users.verify("carol", b"secret") is None


def test_an_unknown_user_costs_what_the_dearest_known_one_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap, dear = hash_password(b"x", ln=4, r=8, p=1), hash_password(b"x", ln=5, r=8, p=2)
    users = parse_users(f"cheap {cheap}\ndear {dear}\n", "users")
    costs = []
    compute = type(cheap).matches

    def matches(self: object, password: bytes) -> bool:
        costs.append((self.ln, self.r, self.p))  # type: ignore[attr-defined]
        return compute(self, password)  # type: ignore[arg-type]

    monkeypatch.setattr(type(cheap), "matches", matches)
    assert users.verify("dear", b"wrong") is None
    assert users.verify("nobody", b"wrong") is None
    assert costs == [(5, 8, 2), (5, 8, 2)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("alice", "f:1: user 'alice' wants a hash behind the name"),
        ("\nalice plain", r"f:2: user 'alice' wants a hash such as .* set the password anew"),
        ("alice HASH boss=x", "f:1: user 'alice': a role is written as one of"),
        ("alice HASH reader=x*", "f:1: user 'alice': .* whole words"),
        ("alice HASH\n\nalice HASH", "f:3: user 'alice' is in line 1 already"),
        ("a:b HASH", "f:1: a user's name"),
        ("x" * 65 + " HASH", "f:1: a user's name has up to 64 bytes"),
    ],
)
def test_a_bad_line_is_named(text: str, reason: str) -> None:
    with pytest.raises(BadUsers, match=reason):
        parse_users(text.replace("HASH", str(HASH)), "f")


@pytest.mark.parametrize("name", ["", "a b", "#a", "a:b", "a\x00", "x" * 65, "é" * 33])
def test_names_that_no_client_could_send_are_refused(name: str) -> None:
    with pytest.raises(BadUsers):
        check_name(name)


def test_names_are_utf_8() -> None:
    assert check_name("Zoë#1") == "Zoë#1"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o660])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice {HASH}\n")
    path.chmod(mode)
    with pytest.raises(BadUsers, match=f"has the mode {mode:04o}.*chmod 600"):
        read_users(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_a_file_of_owner_and_group_is_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "users"
    path.write_text(f"alice {HASH}\n")
    path.chmod(mode)
    assert len(read_users(path)) == 1


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUsers, match="cannot be read: No such file"):
        read_users(tmp_path / "missing")
    with pytest.raises(BadUsers, match="cannot be read: Is a directory"):
        read_users(tmp_path)
    path = tmp_path / "users"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(BadUsers, match="not UTF-8"):
        read_users(path)
    os.truncate(path, 5 << 20)
    with pytest.raises(BadUsers, match="greater than 4 MB"):
        read_users(path)


def test_two_entries_of_one_name_are_refused() -> None:
    entry = Entry(User("a", [parse_grant("admin=#")]), HASH)
    with pytest.raises(BadUsers, match="two users 'a'"):
        Users([entry, entry])
