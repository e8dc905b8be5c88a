"""The README is true: its demo and its conversation are run as they are written, on a port of the test's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from redqueue.engine.settings import QueueSettings
from redqueue.options import OPTIONS
from redqueue.protocol.commands import COMMANDS
from tests.documents import Block, ConsoleSession, Conversation, PythonSession, blocks
from tests.server_process import ROOT, ServerProcess

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_demo_runs_as_written(tmp_path: Path) -> None:
    demo = [block for block in blocks("README.md") if block.language in ("pycon", "console")]
    with ConsoleSession(tmp_path) as console:
        console.run(Block("this test", "console", (), "", 1, "$ redqueue_server.py &\n...ready on ...\n"))
        python = PythonSession(console.port)
        for block in demo:
            (python if block.language == "pycon" else console).run(block)
    assert sum(block.language == "console" for block in demo) >= 2


def test_the_conversation_by_hand_runs_as_written(tmp_path: Path) -> None:
    (conversation,) = (block for block in blocks("README.md") if block.language == "transcript")
    with ServerProcess(tmp_path) as server:
        Conversation(server.port).run(conversation)


def test_the_two_commands_come_first_and_exist() -> None:
    first = blocks("README.md")[0]
    assert README.index(first.text) < 100
    commands = re.findall(r"^make (\S+)", first.text, re.MULTILINE)
    assert commands == ["serve", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in {*commands, *re.findall(r"`make (\w+)", README)}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_verb_is_in_the_table() -> None:
    table = README[README.index("## The verbs") : README.index("## Options of the daemon")]
    written = {
        words.split()[0]
        for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for words in re.findall(r"`([^`]+)`", cell)
    }
    assert {verb.decode() for verb in COMMANDS} <= written


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`--(\w+)", README)) - {"help", "check", "print"}))
def test_the_options_it_names_exist(name: str) -> None:
    assert name in {option.name for option in OPTIONS}


def test_the_defaults_it_names_are_true() -> None:
    by_name = {option.name: option for option in OPTIONS}
    table = README[README.index("## Options of the daemon") : README.index("## What `reliable` promises")]
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", table, re.MULTILINE)
    assert len(rows) >= 8
    for names, defaults in rows:
        options = re.findall(r"--(\w+)", names)
        values = re.findall(r"`([^`]*)`", defaults)
        if values:
            values += values[-1:] * (len(options) - len(values))
        for name, value in zip(options, values or [""] * len(options), strict=True):
            assert by_name[name].default == value, name
    assert QueueSettings.__dataclass_fields__["reserve_timeout"].default in (300, 300.0)


def test_the_paths_it_names_exist() -> None:
    layout = next(block for block in blocks("README.md") if block.heading == "What is where")
    paths = [line.split()[0] for line in layout.text.splitlines()]
    paths += re.findall(r"\]\(([^)]+)\)", README)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_the_links_of_the_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (document.parent / target).exists(), target
    assert f"docs/{document.name}" in README
