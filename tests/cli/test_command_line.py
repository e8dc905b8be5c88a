"""The command ``redqueue`` as a whole: help, statuses, terminals."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from redqueue import __version__
from redqueue.cli.notation import parse_shown, parse_time, show, show_time
from redqueue.journal import record as rec
from tests.cli.tool import COMMAND, Handmade, environment, put, redqueue

ACTIONS = ("dump", "verify", "stat", "salvage", "export", "import")


def test_version() -> None:
    done = redqueue("--version")
    assert (done.returncode, done.stdout) == (0, f"RedQueue {__version__}\n")


def test_help_leads_from_one_to_the_next() -> None:
    assert re.search(r"^ +journal +look into", redqueue("--help").stdout, re.MULTILINE)
    text = redqueue("journal", "--help").stdout
    for action in ACTIONS:
        assert re.search(rf"^ +{action} +\w", text, re.MULTILINE), action


@pytest.mark.parametrize("action", ACTIONS)
def test_the_help_of_an_action_says_what_it_needs(action: str) -> None:
    text = redqueue("journal", action, "--help").stdout
    assert "exit status:" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    for option in re.findall(r"^  (--\w+)", text, re.MULTILINE):
        assert re.search(rf"^  {option}\b.*(  \S|\n {{20,}}\S)", text, re.MULTILINE), f"{option} is not explained"


@pytest.mark.parametrize("arguments", [(), ("journal",), ("jornal",), ("journal", "dmp", "x"), ("journal", "dump")])
def test_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    done = redqueue(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: redqueue" in done.stderr


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    made.frame(rec.name(1, b"jobs"), *(put(1, i, b"x" * 60) for i in range(1, 5000)))
    process = subprocess.Popen(
        [*COMMAND, "journal", "dump", str(made.directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"NAME" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 2
    process.stderr.close()


def test_an_output_that_knows_no_unicode(life: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "journal", "stat", str(life)],
        capture_output=True,
        env={**environment(), "PYTHONIOENCODING": "ascii"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert rb"caf\xe9" in done.stdout


def on_a_terminal(arguments: list[str], *, rich: bool) -> str:
    """What a command writes to a terminal."""
    command = [*COMMAND, *arguments]
    if not rich:
        hide = "import sys; sys.modules['rich'] = None; sys.modules['rich.console'] = None; "
        command = [sys.executable, "-c", f"{hide}from redqueue.cli.main import main; sys.exit(main())", *arguments]
    ours, theirs = pty.openpty()
    env = {**environment(), "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    pieces = []
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
        if not data:
            break
        pieces.append(data)
    os.close(ours)
    assert process.wait(20) == 0, b"".join(pieces)
    return b"".join(pieces).decode()


@pytest.mark.parametrize("rich", [True, False])
def test_tables_on_a_terminal(life: Path, rich: bool) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", on_a_terminal(["journal", "stat", str(life)], rich=rich))
    assert re.search(r"jobs +5 +1 +0 ", text), text
    assert "odd\\xff/name" in text


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal(life: Path, tmp_path: Path, rich: bool) -> None:
    text = on_a_terminal(["journal", "export", str(life), "--queue=jobs", str(tmp_path / "out")], rich=rich)
    assert "reading" in text
    assert "100%" in text
    text = on_a_terminal(["journal", "import", str(tmp_path / "new"), "--queue=jobs", str(tmp_path / "out")], rich=rich)
    assert "importing" in text
    assert "imported 5 items into jobs" in text


def test_no_progress_elsewhere(life: Path, tmp_path: Path) -> None:
    done = redqueue("journal", "export", life, "--queue=jobs", tmp_path / "out")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"back\\slash", r"back\\slash"),
        (b"\x00\x1b\n\x7f", r"\x00\x1b\x0a\x7f"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("caf\u00e9 \u202eevil".encode(), "caf\u00e9 \\xe2\\x80\\xaeevil"),
        (b"\\x41", r"\\x41"),
    ],
)
def test_bytes_as_text(data: bytes, text: str) -> None:
    assert show(data) == text
    assert parse_shown(text) == data


@pytest.mark.parametrize("nanoseconds", [0, 1, 1_800_000_000_123_456_789, (1 << 64) - 1])
def test_moments(nanoseconds: int) -> None:
    assert parse_time(show_time(nanoseconds)) == nanoseconds


def test_moments_in_other_zones() -> None:
    assert parse_time("2027-01-15T09:00:00+01:00") == parse_time("2027-01-15T08:00:00Z") == 1_800_000_000 * 10**9
    assert parse_time("2027-01-15T08:00Z") == parse_time("@1800000000")
    assert parse_time("2027-01-15Z") == parse_time("2027-01-15T00:00:00.0Z")
    for wrong in ("2027-02-30T00:00:00Z", "1969-12-31T00:00:00Z", "9999-01-01T00:00:00Z", "now"):
        with pytest.raises(ValueError, match=r"\w"):
            parse_time(wrong)
