"""A server that tests share, and queue names of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.server_process import ServerProcess, Wire

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this process that neither stop nor stuff it."""
    with ServerProcess(tmp_path_factory.mktemp("shared") / "log") as server:
        yield server


@pytest.fixture
def queue() -> bytes:
    """A queue name that no other test uses."""
    return b"queue%d" % next(_numbers)


@pytest.fixture
def wire(shared_server: ServerProcess) -> Iterator[Wire]:
    """A connection to the shared server."""
    with shared_server.connect() as connection:
        yield connection
