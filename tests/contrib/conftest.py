"""A server for the tests of a file, empty at the beginning of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("journal")) as server:
        yield server


@pytest.fixture
def server(shared_server: ServerProcess) -> ServerProcess:
    with shared_server.connect() as wire:
        assert wire.ask(b"flush_all") == b"OK"
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """One that may be killed, and started again on the same port."""
    with ServerProcess(tmp_path / "journal") as server:
        server._options["port"] = server.port
        yield server
