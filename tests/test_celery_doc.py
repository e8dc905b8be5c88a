"""docs/celery.md is true: its application runs as it is written, and the options that it names have those defaults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from redqueue.contrib.kombu import Channel
from tests.documents import PythonSession, blocks
from tests.server_process import ROOT, ServerProcess

DOCUMENT = "docs/celery.md"


def test_the_application_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, session = (
        next(each for each in blocks(DOCUMENT) if each.language == name) for name in ("python", "pycon")
    )
    assert len([line for line in program.text.splitlines() if line and "import" not in line]) <= 5
    with ServerProcess(tmp_path / "journal") as server:
        (tmp_path / "tasks.py").write_text(program.on_port(server.port))
        log = tmp_path / "log"
        with log.open("wb") as out:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c1"],
                stdout=out,
                stderr=out,
                env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
                cwd=tmp_path,
            )
        try:
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, "tasks", raising=False)
            PythonSession(server.port).run(session)
            worker.terminate()
            assert worker.wait(60) == 0, log.read_text()
        finally:
            worker.kill()
            worker.wait()


def test_the_defaults_of_the_transport_options() -> None:
    table = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", (ROOT / DOCUMENT).read_text(), re.MULTILINE)
    named = {name: value.strip('"') for name, value in table}
    assert named == {
        name: str(list(value) if isinstance(value, tuple) else value).removesuffix(".0")
        for name in Channel.from_transport_options
        if (value := getattr(Channel, name)) is not None and name != "body_encoding"
    }


def test_the_table_of_a_queue_holds_for_its_priorities(tmp_path: Path) -> None:
    config = tmp_path / "redqueue.toml"
    config.write_text(next(each.text for each in blocks(DOCUMENT) if each.language == "toml"))
    with ServerProcess(tmp_path / "journal", config=config) as server, server.connect() as wire:
        for queue in (b"celery", b"celery.~6"):
            wire.put(queue, b"a")
            stats = wire.stats(b"queue " + queue)
            assert (stats["setting_max_deliveries"], stats["setting_dead_letter"]) == ("5", "celery.dead")
