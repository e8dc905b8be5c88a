"""docs/security.md is true: its examples are run as they are written, and its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

from redqueue.access.roles import Role
from redqueue.access.users import parse_line
from redqueue.options import OPTIONS
from redqueue.protocol.permissions import NEEDS, OPERATE, READ, RULE, WRITE
from tests.documents import ConsoleSession, Conversation, PythonSession, blocks
from tests.server_process import ROOT

DOCUMENT = "docs/security.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")


def table(role: str) -> set[bytes]:
    """The verbs in the row of a role."""
    (row,) = re.findall(rf"^\| `{re.escape(role)}` \|(.*)\|$", TEXT, re.MULTILINE)
    return {word.encode() for word in re.findall(r"`([a-z_ ]+)`", row)}


def test_its_examples_run_as_written_one_after_the_other(tmp_path: Path) -> None:
    found = [block for block in blocks(DOCUMENT) if block.language in ("console", "transcript", "pycon")]
    assert [block.language for block in found] == ["console", "transcript", "pycon", "pycon"]
    with ConsoleSession(tmp_path) as console:
        python = PythonSession(console.port)
        for block in found:
            if block.language == "console":
                console.run(block)
            elif block.language == "transcript":
                Conversation(console.port).run(block)
            else:
                python.run(block)


def test_each_role_has_its_verbs() -> None:
    same = {b"gets", b"gat", b"gats", b"mg", b"md", b"me", b"ms", b"ma", b"cas", b"stats queue"}
    for role, need in (("reader", READ), ("writer", WRITE), ("admin", OPERATE), ("admin=#", RULE)):
        needed = {verb for verb, each in NEEDS.items() if each == need}
        assert needed - same == table(role), role
    assert {role.value for role in Role} == {"reader", "writer", "admin"}


def test_its_options_exist_and_have_these_defaults() -> None:
    options = {option.name: option.default for option in OPTIONS}
    rows = re.findall(r"^\| `--(\w+)` \|(.*?)\|", TEXT, re.MULTILINE)
    assert {name for name, _ in rows} == {name for name in options if name.startswith("tls_")}
    for name, default in rows:
        assert default.strip(" `") == options[name], name
    for name in re.findall(r"`--(\w+)`", TEXT):
        assert name in options or name == "json"


def test_its_file_is_one() -> None:
    (example,) = (block.text for block in blocks(DOCUMENT) if block.language == "text")
    lines = [line for line in example.splitlines() if not line.startswith("#")]
    filled = "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    names = [parse_line(line.replace("$c2FsdA...$aGFzaA...", filled)).user.name for line in lines]
    assert names == ["boss", "root"]
