"""docs/operations.md is true: its examples run as they are written, and it names the signals that are handled."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from redqueue.options import OPTIONS
from redqueue.server import watch
from tests.documents import ConsoleSession, blocks
from tests.server_process import ROOT

DOCUMENT = "docs/operations.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")


def test_the_commands_do_what_is_written(tmp_path: Path) -> None:
    with ConsoleSession(tmp_path) as console:
        try:
            for block in blocks(DOCUMENT):
                if block.language == "console":
                    console.run(block)
        finally:
            pid_file = tmp_path / "redqueue.pid"
            with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_the_options_and_signals_it_names_exist() -> None:
    names = {option.name for option in OPTIONS}
    assert set(re.findall(r"--([a-z]+(?:_[a-z]+)*)[=`]", TEXT)) <= names
    for name in re.findall(r"\bSIG\w+", TEXT):
        assert hasattr(signal, name), name


def test_the_times_it_names_are_true() -> None:
    assert f"every {watch.STATUS_SECONDS:.0f} seconds" in TEXT
    assert f"for {watch.STUCK_SECONDS / 60:.0f} minutes" in TEXT
