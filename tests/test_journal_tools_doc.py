"""docs/journal-tools.md is true: its examples are run as they are written, and it leaves no option out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.tool import redqueue
from tests.documents import blocks, run_console_blocks
from tests.server_process import ROOT

TEXT = (ROOT / "docs/journal-tools.md").read_text(encoding="utf-8")


def test_the_examples_run_as_written(tmp_path: Path) -> None:
    assert run_console_blocks("docs/journal-tools.md", tmp_path) >= 6


def test_every_option_is_in_the_synopsis_and_no_other() -> None:
    synopsis = next(block for block in blocks("docs/journal-tools.md") if block.language == "text").text
    for line in synopsis.splitlines():
        action = line.split()[2]
        text = redqueue("journal", action, "--help").stdout
        options = set(re.findall(r"^  (?:-\w, )?(--\w+)", text, re.MULTILINE)) - {"--help"}
        assert set(re.findall(r"--\w+", line)) == options, action


def test_every_status_is_explained() -> None:
    assert re.findall(r"^\| (\d) \|", TEXT, re.MULTILINE) == ["0", "1", "2"]
