"""The first example: set, get, delete."""

from __future__ import annotations

from pathlib import Path

from tests.examples.finished import run_program
from tests.server_process import ServerProcess


def test_an_item_is_put_reserved_and_acknowledged(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        lines = run_program("hello/hello.py", f"--redqueue=127.0.0.1:{server.port}")
        assert lines == ["reserved: Hello, world!", "acknowledged: True", "and then: None"]
        assert server.connect().get(b"hello") == []


def test_without_a_server_it_says_so() -> None:
    assert "is redqueue_server.py running?" in run_program("hello/hello.py", "--redqueue=127.0.0.1:1", status=1)[-1]
