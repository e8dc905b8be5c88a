"""A server with a web page that tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.server_process import ServerProcess, Wire
from tests.web.api import Api

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def web_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this process that do not change how it takes items."""
    with ServerProcess(
        tmp_path_factory.mktemp("web") / "log", http_port="any", max_deliveries=1, max_item_size="64kb"
    ) as server:
        yield server


@pytest.fixture
def api(web_server: ServerProcess) -> Api:
    """A client of the shared server's JSON API."""
    return Api(web_server.url)


@pytest.fixture
def wire(web_server: ServerProcess) -> Iterator[Wire]:
    """A connection to the shared server."""
    with web_server.connect() as connection:
        yield connection


@pytest.fixture
def queue() -> str:
    """A queue name that no other test uses."""
    return f"web{next(_numbers)}"
