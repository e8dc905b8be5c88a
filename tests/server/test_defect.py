"""A defect in the middle of a tick ends the server; it does not leave clients waiting for ever."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT, ServerProcess

BROKEN = """
import sys
from redqueue.engine.broker import Broker
from redqueue.server.daemon import main

def commit(self, batch):
    if any(record.endswith(b"poison") for _, record, _ in batch.puts):
        raise RuntimeError("made for this test")
    good(self, batch)

good, Broker.commit = Broker.commit, commit
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.plain
def test_a_defect_ends_the_server_and_loses_nothing(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN)
    server = ServerProcess(tmp_path / "log")
    server.command = [sys.executable, str(script)]
    with server, server.connect() as wire:
        assert wire.put(b"q", b"good") == b"STORED"
        assert wire.put(b"q", b"poison") == b""
        assert server.wait() == 1
        server.says("RuntimeError: made for this test")
        server.says("a defect in the server")
    server.command = [sys.executable, str(ROOT / "bin" / "redqueue_server.py")]
    with server, server.connect() as wire:
        assert wire.get(b"q") == [(b"q", 0, b"good")]
