"""docs/migrating.md is true: its examples run as written, and the options of its commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.tool import redqueue
from tests.documents import blocks, run_console_blocks
from tests.server_process import ROOT


def test_the_examples_run_as_written(tmp_path: Path) -> None:
    assert run_console_blocks("docs/migrating.md", tmp_path)


def test_the_options_of_import_exist() -> None:
    known = redqueue("import", "--help").stdout
    (commands,) = [block for block in blocks("docs/migrating.md") if block.language == "text"]
    text = (ROOT / "docs/migrating.md").read_text(encoding="utf-8")
    named = re.findall(r"--[a-z-]+", commands.text)
    for option in {*named, *re.findall(r"`(--(?:copy|dry|buried|from|source)[a-z-]*)", text)}:
        assert option in known, option
