"""docs/cli.md is true: its examples are run as they are written, and it leaves out no command and no status."""

from __future__ import annotations

import re
from pathlib import Path

from redqueue.cli.main import COMMANDS
from tests.cli.tool import redqueue
from tests.documents import run_console_blocks
from tests.server_process import ROOT

TEXT = (ROOT / "docs/cli.md").read_text(encoding="utf-8")


def test_the_examples_run_as_written(tmp_path: Path) -> None:
    assert run_console_blocks("docs/cli.md", tmp_path) >= 8


def test_every_command_is_in_it() -> None:
    for command in COMMANDS:
        assert re.search(rf"`(redqueue )?{command}\b", TEXT), command


def test_the_options_that_it_names_exist() -> None:
    known = {
        option
        for command in sorted(COMMANDS)
        for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", redqueue(command, "--help").stdout)
    }
    for option in set(re.findall(r"`(--[a-z-]+)", TEXT)):
        assert option in known, option


def test_every_status_is_explained() -> None:
    assert re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE) == ["0", "1", "2", "130"]
