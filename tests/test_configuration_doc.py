"""docs/configuration.md is true: its console blocks are run as written, what it says of the log is compared with it."""

from __future__ import annotations

import re
from pathlib import Path

from redqueue.engine import admission
from redqueue.options import OPTIONS
from redqueue.server import logs, repeats
from tests.documents import run_console_blocks
from tests.server_process import ROOT

DOCUMENT = "docs/configuration.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")


def test_its_console_blocks_run_as_written(tmp_path: Path) -> None:
    assert run_console_blocks(DOCUMENT, tmp_path) == 3


def test_the_options_and_figures_it_names_are_true() -> None:
    names = {option.name for option in OPTIONS}
    assert set(re.findall(r"`(log_\w+)`", TEXT)) == {name for name in names if name.startswith("log_")}
    assert f"up to {logs.MOST_WAITING:,} messages wait" in TEXT
    assert f"for {'ten' if repeats.SECONDS == 10 else repeats.SECONDS} seconds" in TEXT
    assert f"{'ten' if repeats.MOST_PEERS == 10 else repeats.MOST_PEERS} addresses at most" in TEXT
    assert f"up to {'a thousand' if admission.DROP_MOST == 1000 else admission.DROP_MOST} items" in TEXT
