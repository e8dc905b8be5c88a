"""Servers for the clients, and queue names of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.server_process import ServerProcess

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all clients of this process."""
    with ServerProcess(tmp_path_factory.mktemp("clients") / "log", max_item_size="64kb") as process:
        yield process


@pytest.fixture(scope="session")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Another one, for clients that spread their keys."""
    with ServerProcess(tmp_path_factory.mktemp("clients") / "log") as process:
        yield process


@pytest.fixture
def queue() -> str:
    """A queue name that no other test uses."""
    return f"queue{next(_numbers)}"
