"""The units of systemd and the init scripts in contrib/."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.options import OPTIONS
from redqueue.server.activation import _QUEUES, WEB
from tests.documents import free_port
from tests.server_process import ROOT, Wire, wait_until

CONTRIB = ROOT / "contrib"
UNITS = sorted((CONTRIB / "systemd").iterdir())
SCRIPTS = [CONTRIB / "sysv/redqueue", CONTRIB / "openrc/redqueue"]
MOST_EXPOSED = 2.0
"""The exposure level of systemd-analyze, from 0 (none) to 10, that the unit may have at most."""


def tool(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    assert path, f"{name} is missing: tests/install-extra.sh installs it"
    return path


def values(unit: str, key: str) -> list[str]:
    """What a unit sets ``key`` to, in order."""
    text = (CONTRIB / "systemd" / unit).read_text()
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


# -- systemd --------------------------------------------------------------------


def test_the_service_waits_for_readiness_and_is_watched() -> None:
    assert values("redqueue.service", "Type") == ["notify"]
    assert int(values("redqueue.service", "WatchdogSec")[0]) >= 10
    assert values("redqueue.service", "ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_the_sockets_have_names_that_the_server_knows() -> None:
    assert values("redqueue.socket", "FileDescriptorName")[0] in _QUEUES
    assert values("redqueue-web.socket", "FileDescriptorName") == [WEB]
    ports = {option.name: option.default for option in OPTIONS}
    assert f"{ports['host']}:{ports['port']}" in values("redqueue.socket", "ListenStream")


@pytest.mark.parametrize("path", [*UNITS, *SCRIPTS], ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_options_it_names_exist(path: Path) -> None:
    names = {option.name for option in OPTIONS}
    text = path.read_text()
    for name in re.findall(r"REDQUEUE_([A-Z_]+)", text):
        assert name.lower() in names, name
    for name in re.findall(r" --(\w+)=", text):
        if path.parent.name != "systemd":
            assert name in names, name


@pytest.mark.extra
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for path in UNITS:
        text = path.read_text().replace("/usr/bin/redqueue_server.py", str(ROOT / "bin/redqueue_server.py"))
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        [tool("systemd-analyze"), "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "redqueue" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.extra
def test_the_service_is_locked_in() -> None:
    done = subprocess.run(
        [
            *(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}"),
            *("--no-pager", str(CONTRIB / "systemd/redqueue.service")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


@pytest.mark.extra
def test_the_server_calls_nothing_that_the_unit_forbids(tmp_path: Path) -> None:
    """Its system calls are traced, and looked up in systemd's sets; the filter itself needs a running systemd."""
    trace = tmp_path / "trace"
    port = free_port()
    process = subprocess.Popen(
        [
            *(tool("strace"), "-f", "-qq", "-o", str(trace), sys.executable, str(ROOT / "bin/redqueue_server.py")),
            *(
                f"--port={port}",
                f"--logdir={tmp_path / 'log'}",
                "--segment_size=64kb",
                f"--unix_socket={tmp_path / 's'}",
            ),
        ],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    try:
        assert any("ready on" in line for line in iter(process.stderr.readline, ""))
        with Wire("127.0.0.1", port) as wire:
            for _ in range(100):
                assert wire.put(b"q", b"x" * 1000) == b"STORED"
            for _ in range(100):
                assert wire.get(b"q")
                assert wire.ask(b"delete q") == b"DELETED"
            os.kill(int(wire.stats()["pid"]), signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
    lines = trace.read_text().splitlines()
    used = {match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line))}
    assert len(used) > 30
    assert used - allowed() == set()
    executable = [line for line in lines if "PROT_EXEC" in line and ("PROT_WRITE" in line or "mprotect(" in line)]
    assert executable == []


def allowed() -> set[str]:
    """The system calls that the unit's SystemCallFilter= lines let through."""
    calls: set[str] = set()
    for line in values("redqueue.service", "SystemCallFilter"):
        named = {call for name in line.removeprefix("~").split() for call in system_calls(name)}
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def system_calls(name: str) -> set[str]:
    """What a set of system calls has in it."""
    done = subprocess.run([tool("systemd-analyze"), "syscall-filter", name], capture_output=True, text=True, check=True)
    words = {line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")}
    return {call for word in words for call in (system_calls(word) if word.startswith("@") else {word})}


# -- init scripts ---------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_a_shell_can_read_it(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.extra
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.parent.name)
def test_shellcheck_finds_nothing_wrong(script: Path) -> None:
    unused = ["--exclude=SC2034"] if script.parent.name == "openrc" else []  # openrc-run reads them
    done = subprocess.run(
        [tool("shellcheck"), "--shell=sh", *unused, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


class InitScript:
    """The LSB script, with its files in a directory of the test's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.pid_file = directory / "redqueue.pid"
        server = directory / "server"
        server.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/bin/redqueue_server.py" "$@"\n')
        server.chmod(0o755)
        defaults = directory / "defaults"
        defaults.write_text(
            f"DAEMON={server}\nDAEMON_USER=\nPID_FILE={self.pid_file}\nLOG_FILE={directory}/log\n"
            f"REDQUEUE_LOGDIR={directory}/journal\nexport REDQUEUE_PORT={self.port} PYTHONPATH={ROOT}\n"
        )
        self.path = directory / "redqueue"
        self.path.write_text(SCRIPTS[0].read_text().replace("/etc/default/redqueue", str(defaults)))

    def __call__(self, action: str) -> tuple[int, str]:
        """Run it; returns the exit status and what it says."""
        done = subprocess.run(
            ["sh", str(self.path), action], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode, done.stdout

    @property
    def pid(self) -> int:
        """What the pid file says; 0 where it says nothing."""
        return int(self.pid_file.read_text() or 0) if self.pid_file.exists() else 0


@pytest.fixture
def script(tmp_path: Path) -> Iterator[InitScript]:
    script = InitScript(tmp_path)
    yield script
    if script.pid and script("status")[0] == 0:
        os.kill(script.pid, signal.SIGKILL)


def test_the_life_of_a_server_by_its_init_script(script: InitScript) -> None:
    assert script("status") == (3, "redqueue does not run\n")
    assert script("stop") == (0, "")
    assert script("try-restart") == (0, "")
    assert script("reload") == (7, "redqueue does not run\n")
    assert script("start") == (0, "")
    first = script.pid
    assert script("status") == (0, f"redqueue runs (pid {first})\n")
    assert script("start") == (0, "redqueue runs already\n")
    with Wire("127.0.0.1", script.port) as wire:
        assert wire.put(b"q", b"x") == b"STORED"
        assert script("drain") == (0, "")
        wait_until(lambda: wire.stats()["draining"] == "1", what="the drain")
        assert script("reload") == (0, "")
        assert wire.ask(b"version").startswith(b"VERSION")
    assert script("restart") == (0, "")
    assert script.pid not in (0, first)
    with Wire("127.0.0.1", script.port) as wire:
        assert wire.get(b"q") == [(b"q", 0, b"x")]
    assert script("stop") == (0, "")
    assert script("status") == (3, "redqueue does not run\n")
    assert script("nonsense")[0] == 2


def test_an_init_script_knows_a_server_that_has_died(script: InitScript) -> None:
    assert script("start") == (0, "")
    os.kill(script.pid, signal.SIGKILL)
    wait_until(lambda: script("status")[0] != 0, what="the end")
    assert script("status") == (1, "redqueue has died, and has left its pid file behind\n")
    status, text = script("start")
    assert status == 0
    assert "left behind by a server that has died" in text
    assert script("status")[0] == 0


def test_an_init_script_says_why_a_server_does_not_start(script: InitScript) -> None:
    (script.directory / "journal").write_text("in the way")
    status, text = script("start")
    assert status != 0
    assert "journal" in text
    assert script("status")[0] == 3
