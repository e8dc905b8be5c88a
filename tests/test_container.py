"""The container file: what it copies is there, what it sets is an option, what it runs works."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from redqueue.options import OPTIONS
from tests.server_process import ROOT, ServerProcess

FILE = ROOT / "contrib/container/Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        found.append((name, re.sub(r"\s+", " ", rest.strip())))
    return found


def last(name: str) -> str:
    """The arguments of the last instruction of that name."""
    return [rest for each, rest in instructions() if each == name][-1]


def variables() -> dict[str, str]:
    """What ENV sets."""
    return dict(word.split("=", 1) for name, rest in instructions() if name == "ENV" for word in shlex.split(rest))


def test_it_has_what_it_needs_and_in_order() -> None:
    names = [name for name, _ in instructions()]
    assert names.count("FROM") == 2
    known = "FROM RUN WORKDIR COPY ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT"
    assert set(names) <= set(known.split(" "))
    assert len({rest.split(" ")[0] for name, rest in instructions() if name == "FROM"}) == 1  # one Python for both
    assert last("USER") == "redqueue"
    assert names.index("USER") > len(names) - 1 - names[::-1].index("RUN"), "nothing is run as root behind USER"
    assert last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(last("ENTRYPOINT")) == ["redqueue_server.py"]
    assert last("VOLUME") == variables()["REDQUEUE_LOGDIR"]
    assert f"--mode=750 {last('VOLUME')}" in " ".join(rest for name, rest in instructions() if name == "RUN")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert ignore[0] == "*"
    for name, rest in instructions():
        if name != "COPY" or "--from" in rest:
            continue
        for source in shlex.split(rest)[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, line[1:]) for line in ignore if line.startswith("!")), source


def test_everything_that_the_package_is_built_of_is_copied() -> None:
    copied = {word for name, rest in instructions() if name == "COPY" for word in shlex.split(rest)[:-1]}
    assert {"pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "build_backend", "bin"} <= copied


def test_the_options_it_sets_exist() -> None:
    names = {f"REDQUEUE_{option.name.upper()}" for option in OPTIONS} | {"REDQUEUE_COMPILE"}
    assert {name for name in variables() if name.startswith("REDQUEUE_")} <= names
    defaults = {option.name: option.default for option in OPTIONS}
    assert last("EXPOSE").split() == [defaults["port"], defaults["http_port"]]


def test_the_health_check_asks_what_there_is(tmp_path: Path) -> None:
    """Its command, with the port of a server that runs here."""
    command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"

    def check(port: int) -> int:
        script = command[2].replace("12346", str(port))
        return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, timeout=30).returncode

    with ServerProcess(tmp_path / "log", http_port="any") as server:
        found = None
        until = time.monotonic() + 20
        while found is None and time.monotonic() < until:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", server.log)
        assert found, server.log
        assert check(int(found[1])) == 0
        server.kill()
        assert check(int(found[1])) != 0


def test_the_shell_lines_are_good_shell() -> None:
    for name, rest in instructions():
        if name == "RUN":
            done = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
