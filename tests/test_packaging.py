"""What pip installs is the same daemon: as a script and as a module, away from the source."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from redqueue import __version__
from tests.documents import free_port
from tests.server_process import ROOT, Wire, wait_until


def copy_tree(to: Path) -> Path:
    """A copy of what is needed to install it."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "log", "tests", "docs", "benchmarks")
    shutil.copytree(ROOT, to, ignore=ignored)
    return to


def pip(python: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run pip with these environment variables."""
    return subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module", params=["no", pytest.param("yes", marks=pytest.mark.extra)], ids=["plain", "compiled"])
def compiled(request: pytest.FixtureRequest) -> str:
    """Whether the hot modules are compiled, as stats says it."""
    return str(request.param)


@pytest.fixture(scope="module")
def environment(compiled: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment into which a copy of the tree has been installed."""
    base = tmp_path_factory.mktemp("packaging")
    tree = copy_tree(base / "tree")
    venv = base / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    done = pip(venv / "bin/python", "install", str(tree), REDQUEUE_COMPILE="1" if compiled == "yes" else "0")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tree)
    return venv


def commands(venv: Path) -> list[list[str]]:
    return [[str(venv / "bin/redqueue_server.py")], [str(venv / "bin/python"), "-m", "redqueue"]]


@pytest.mark.parametrize("index", [0, 1], ids=["script", "module"])
def test_it_runs_in_an_empty_directory(environment: Path, compiled: str, tmp_path: Path, index: int) -> None:
    command = commands(environment)[index]
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REDQUEUE_"))}
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"RedQueue {__version__}\n", "")
    assert list(tmp_path.iterdir()) == []
    port = free_port()
    log = tmp_path / "stderr"
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, f"--port={port}", "--http_port=0"], cwd=tmp_path, env=variables, stderr=file
        )
    try:
        wait_until(lambda: "ready on" in log.read_text() or server.poll() is not None)
        with Wire("127.0.0.1", port) as wire:
            assert wire.put(b"jobs", b"feed my cat") == b"STORED"
            assert wire.stats()["event_loop"] == ("uvloop" if sys.platform in ("linux", "darwin") else "asyncio")
            assert wire.stats()["compiled"] == compiled
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
    assert sorted(path.name for path in (tmp_path / "log").iterdir())[0] == "lock"
    assert re.search(r"ended; 1 items are kept", log.read_text())


@pytest.mark.parametrize("command", [["redqueue"], ["python", "-m", "redqueue.cli"]], ids=["script", "module"])
def test_the_operators_command_needs_no_more(environment: Path, tmp_path: Path, command: list[str]) -> None:
    """Also without the library that makes its tables nicer."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "REDQUEUE_"))}
    command = [str(environment / "bin" / command[0]), *command[1:]]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, input=""
        )

    assert run("--version").stdout == f"RedQueue {__version__}\n"
    assert run("journal", "import", "log", "--queue=jobs").returncode == 0
    assert run("journal", "stat", "log").returncode == 0
    done = run("stats", "--server=unix:nowhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    installed = subprocess.run([environment / "bin/pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "rich" not in installed.split()


def test_its_metadata(environment: Path) -> None:
    script = "from importlib.metadata import metadata; print(metadata('redqueue'))"
    found = subprocess.run(
        [str(environment / "bin/python"), "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"^Version: {re.escape(__version__)}$", found, re.MULTILINE)
    assert re.search(r"^License-Expression: MIT$", found, re.MULTILINE)
    assert "RedQueue is a queue server" in found


def test_all_of_the_package_is_there(environment: Path) -> None:
    (package,) = environment.glob("lib/python*/site-packages/redqueue")
    source = ROOT / "redqueue"
    expected = {path.relative_to(source) for pattern in ("*.py", "py.typed") for path in source.rglob(pattern)}
    static = source / "server" / "web" / "static"
    expected |= {path.relative_to(source) for path in static.rglob("*") if path.is_file()}
    assert Path("server/web/static/vendor/uplot.js") in expected
    assert {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".so")
    } == expected


def test_the_manual_pages_are_where_man_finds_them(environment: Path) -> None:
    assert "redqueue take" in (environment / "share/man/man1/redqueue.1").read_text()
    assert "segment_size" in (environment / "share/man/man8/redqueue_server.8").read_text()


def test_without_a_compiler_it_is_plain_and_says_so(tmp_path: Path) -> None:
    arguments = ("wheel", "--verbose", "--no-deps", f"--wheel-dir={tmp_path}", str(copy_tree(tmp_path / "tree")))
    done = pip(sys.executable, *arguments, REDQUEUE_COMPILE="", CC="no-such-compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"plain Python, .*: there is no C compiler \(no-such-compiler\)", done.stdout + done.stderr)
    assert [path.name for path in tmp_path.glob("*.whl")] == [f"redqueue-{__version__}-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("value", "complaint"),
    [("1", "REDQUEUE_COMPILE=1, and there is no C compiler"), ("yes", "REDQUEUE_COMPILE wants 0 or 1, not 'yes'")],
)
def test_compile_that_cannot_be_obeyed(tmp_path: Path, value: str, complaint: str) -> None:
    arguments = ("wheel", "--no-deps", f"--wheel-dir={tmp_path}", str(copy_tree(tmp_path / "tree")))
    done = pip(sys.executable, *arguments, REDQUEUE_COMPILE=value, CC="no-such-compiler")
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr
    assert not list(tmp_path.glob("*.whl"))
