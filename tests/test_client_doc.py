"""docs/client.md is true: its sessions, its worker and its test run as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import redqueue.client
from redqueue.client import Client, QueueError
from tests.documents import PythonSession, blocks
from tests.server_process import ROOT, ServerProcess, wait_until

DOCUMENT = "docs/client.md"
BLOCKS = blocks(DOCUMENT)


def program(heading: str) -> list[str]:
    return [block.text for block in BLOCKS if block.language == "python" and block.heading == heading]


def test_the_sessions_run_as_written(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        session = PythonSession(server.port)
        for block in BLOCKS:
            if block.language == "pycon":
                session.run(block)


def test_the_worker_goes_on_after_a_bad_job(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with ServerProcess(tmp_path / "journal") as server, Client((server.host, server.port)) as client:
        (text,) = [block.on_port(server.port) for block in BLOCKS if block.heading == "A worker"]
        for body in ("bad", "good"):
            client.queue("jobs").put(body)
        with output.open("w") as file:
            worker = subprocess.Popen(
                [sys.executable, "-c", text], stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        try:
            wait_until(lambda: "done: good" in output.read_text())
        finally:
            worker.kill()
            worker.wait()
        assert "ValueError: a bad job" in output.read_text()
        with server.connect() as wire:
            assert wire.stats(b"queue jobs")["delayed"] == "1"


def test_the_arguments_for_tls_are_right() -> None:
    (text,) = program("Names, passwords, TLS")
    compile(text, DOCUMENT, "exec")
    exec(text.replace('cafile="ca.pem"', ""), {})


def test_the_fixture_works_as_written(tmp_path: Path) -> None:
    conftest, test = program("A server for tests")
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_it.py").write_text(test)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in result.stdout, result.stdout + result.stderr


def test_each_exception_is_described() -> None:
    text = (ROOT / DOCUMENT).read_text()
    names = [each.__name__ for each in vars(redqueue.client).values() if isinstance(each, type)]
    exceptions = [name for name in names if issubclass(getattr(redqueue.client, name), QueueError)]
    assert len(exceptions) == 7
    assert all(f"`{name}`" in text for name in exceptions)
