"""docs/migrating.md is true: its examples run as written, and the options of its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.tool import redqueue
from tests.documents import ConsoleSession, blocks
from tests.server_process import ROOT


def test_the_examples_run_as_written(tmp_path: Path) -> None:
    examples = [block for block in blocks("docs/migrating.md") if block.language == "console"]
    assert examples
    with ConsoleSession(tmp_path) as console:
        for block in examples:
            console.run(block)


def test_the_options_of_import_exist() -> None:
    known = redqueue("import", "--help").stdout
    (commands,) = [block for block in blocks("docs/migrating.md") if block.language == "text"]
    text = (ROOT / "docs/migrating.md").read_text(encoding="utf-8")
    named = re.findall(r"--[a-z-]+", commands.text)
    for option in {*named, *re.findall(r"`(--(?:copy|dry|buried|from|source)[a-z-]*)", text)}:
        assert option in known, option
