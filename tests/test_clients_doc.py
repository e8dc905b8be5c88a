"""docs/clients.md is true: its examples are run as they are written, each with the client it speaks of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import Block, PythonSession, blocks
from tests.server_process import ServerProcess

EXAMPLES = [block for block in blocks("docs/clients.md") if block.language == "pycon"]


@pytest.mark.parametrize("block", [block for block in EXAMPLES if not block.words], ids=lambda block: block.heading)
def test_the_example_runs_as_written(block: Block, tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        PythonSession(server.port).run(block)


@pytest.mark.extra
@pytest.mark.parametrize("block", [block for block in EXAMPLES if block.words], ids=lambda block: block.heading)
def test_the_example_with_another_library_runs_as_written(block: Block, tmp_path: Path) -> None:
    pytest.importorskip(block.words[0])
    with ServerProcess(tmp_path) as server:
        PythonSession(server.port).run(block)


def test_each_client_has_an_example() -> None:
    clients = ["python-memcached", "pymemcache", "pylibmc", "aiomcache", "meta-memcache", "python-binary-memcached"]
    assert list(dict.fromkeys(block.heading for block in EXAMPLES)) == clients
