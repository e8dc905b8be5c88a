"""docs/api.md is true: its examples are run as they are written, and it leaves no path and no answer out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from redqueue.server.web.openapi import ERRORS, PATHS
from tests.documents import Block, ConsoleSession, PythonSession, blocks
from tests.server_process import ROOT, ServerProcess

TEXT = (ROOT / "docs/api.md").read_text(encoding="utf-8")


def test_the_example_with_python_runs_as_written(tmp_path: Path) -> None:
    (example,) = [block for block in blocks("docs/api.md") if block.language == "pycon"]
    with ServerProcess(tmp_path, http_port="any") as server:
        PythonSession(server.port, server.http_port).run(example)


@pytest.mark.extra
def test_the_example_with_curl_runs_as_written(tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is missing: tests/install-extra.sh installs it"
    (example,) = [block for block in blocks("docs/api.md") if block.language == "console"]
    with ConsoleSession(tmp_path) as console:
        console.run(Block("this test", "console", (), "", 1, "$ redqueue_server.py &\n...ready on ...\n"))
        console.run(example)


def test_every_path_is_in_the_table_and_no_other() -> None:
    written = set()
    for row in re.findall(r"^\| (`(?:GET|POST|DELETE) .*?) \|", TEXT, re.MULTILINE):
        method, path = re.match(r"`(\w+) (\S+)`", row).groups()  # type: ignore[union-attr]
        written.add((method, path))
        for more in re.findall(r", `(/\w+)`", row):
            written.add((method, path.rpartition("/")[0] + more))
    described = {
        (method.upper(), path)
        for path, each in PATHS.items()
        for method in each
        if method != "parameters" and path.startswith("/api/") and path != "/api/openapi.json"
    }
    assert written == described


def test_every_status_is_explained() -> None:
    explained = re.findall(r"\d{3}", " ".join(re.findall(r"^\| (\d[\d, ]*) \|", TEXT, re.MULTILINE)))
    assert set(explained) == {"200", "201", *ERRORS}
