"""Completion of the command line, and the manual pages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from redqueue import __version__
from redqueue.cli.main import COMMANDS
from redqueue.options import OPTIONS
from tests.cli.live import Live
from tests.cli.tool import COMMAND, redqueue
from tests.server_process import ROOT

INSTALL = "is missing; tests/install-extra.sh installs it"


def complete(live: Live, line: str) -> list[str]:
    """What a shell would be offered at the end of ``line``."""
    offered = live.logdir.parent / "offered"
    offered.unlink(missing_ok=True)
    subprocess.run(
        [*COMMAND],
        env=live.environment(
            _ARGCOMPLETE="1",
            _ARGCOMPLETE_STDOUT_FILENAME=str(offered),
            COMP_LINE=line,
            COMP_POINT=str(len(line)),
            COMP_TYPE="9",
            _ARGCOMPLETE_IFS="\n",
            _ARGCOMPLETE_SUPPRESS_SPACE="1",
        ),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return offered.read_text().splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_shells_need(shell: str) -> None:
    done = redqueue("completion", shell)
    assert done.returncode == 0
    assert "redqueue" in done.stdout
    assert "_ARGCOMPLETE" in done.stdout


def test_commands_options_and_queues(live: Live) -> None:
    live.fill(b"mail.in", b"a")
    live.fill(b"mail.out", b"a")
    live.fill(b"jobs", b"a")
    assert set(complete(live, "redqueue p")) == {"pause", "peek", "put", "passwd"}
    assert complete(live, "redqueue peek --he") == ["--help", "--hex"]
    assert sorted(complete(live, "redqueue peek mail.")) == ["mail.in", "mail.out"]
    assert complete(live, "redqueue move mail.in j") == ["jobs"]
    assert complete(live, "redqueue readonly o") == ["on", "off"]


def test_no_server_no_names(tmp_path: Path) -> None:
    with Live(tmp_path / "journal") as server:
        pass
    assert complete(server, "redqueue peek j") == []


def test_without_the_library() -> None:
    hide = "import sys; sys.modules['argcomplete'] = None; from redqueue.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", hide, "completion", "bash"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "redqueue: completion needs the library argcomplete: pip install 'redqueue[cli]'\n"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A directory in which ``redqueue`` is a command."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "redqueue"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m redqueue.cli "$@"\n')
    script.chmod(0o755)
    return directory


@pytest.mark.extra
@pytest.mark.parametrize(
    ("shell", "script"),
    [
        (
            "bash",
            'eval "$(redqueue completion bash)"; COMP_LINE="redqueue peek mail." COMP_POINT=${#COMP_LINE}; '
            "COMP_POINT=19 COMP_TYPE=9; COMP_WORDS=(redqueue peek mail.); COMP_CWORD=2; _python_argcomplete redqueue; "
            'printf "%s\\n" "${COMPREPLY[@]}"',
        ),
        ("fish", "redqueue completion fish | source; complete -C 'redqueue peek mail.'"),
        (
            "zsh",
            'autoload -U compinit; compinit -u -D; eval "$(redqueue completion zsh)"; print -l ${_comps[redqueue]}',
        ),
    ],
)
def test_in_the_shells(live: Live, commands: Path, tmp_path: Path, shell: str, script: str) -> None:
    live.fill(b"mail.in", b"a")
    live.fill(b"mail.out", b"a")
    assert shutil.which(shell), f"{shell} {INSTALL}"
    path = f"{commands}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, "-c", script],
        env={**live.environment(HOME=str(tmp_path)), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    words = done.stdout.split()
    if shell == "zsh":
        assert words == ["_python_argcomplete"], done.stderr
    else:
        assert words == ["mail.in", "mail.out"], done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the manual pages."""
    directory = tmp_path_factory.mktemp("man")
    done = subprocess.run(
        [sys.executable, str(ROOT / "build_backend/man_pages.py"), str(directory)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )
    assert done.stdout.splitlines() == [str(directory / "redqueue.1"), str(directory / "redqueue_server.8")]
    return directory


def test_the_pages_leave_out_nothing(pages: Path) -> None:
    text = (pages / "redqueue.1").read_text().replace("\\-", "-")
    assert f'.TH REDQUEUE 1 "2023-11-14" "RedQueue {__version__}"' in text
    for command in COMMANDS:
        assert re.search(rf"^\.SS redqueue {command}( |$)", text, re.MULTILINE), command
    for option in ("--server", "--password-file", "--exec", "--backoff", "--kind", "REDQUEUE_PASSWORD", "REDQUEUE_ID"):
        assert option in text, option
    assert text.count("\n.B --timeout") == 1
    text = (pages / "redqueue_server.8").read_text().replace("\\-", "-")
    for option in OPTIONS:
        assert f"\n.B --{option.name}=" in text, option.name


@pytest.mark.extra
def test_the_pages_are_good_roff(pages: Path) -> None:
    assert shutil.which("mandoc"), f"mandoc {INSTALL}"
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *map(str, pages.iterdir())], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    text = subprocess.run(
        ["mandoc", "-Tascii", str(pages / "redqueue.1")], capture_output=True, text=True, check=True
    ).stdout
    assert "redqueue take" in re.sub(r".\x08", "", text)
