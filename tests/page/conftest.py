"""The operators' page in headless Chromium, against real servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from tests.chromium import chromium
from tests.server_process import ServerProcess, Wire

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need Chromium."""
    for item in items:
        if "tests/page/" in item.path.as_posix():
            item.add_marker(pytest.mark.extra)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """For one module."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this process that leave its switches alone."""
    logdir = tmp_path_factory.mktemp("page") / "log"
    with ServerProcess(logdir, http_port="any", max_deliveries=2) as process:
        yield process


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    """A connection to the shared server."""
    with server.connect(timeout=30) as connection:
        yield connection


@pytest.fixture
def queue() -> str:
    """A queue name that no other test uses."""
    return f"page{next(_numbers)}"


class Visit:
    """A page of a server, open in the browser.

    :ivar errors: what its console has said, exceptions, and requests to other hosts
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.expected: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("request", self._on_request)
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc:
            self.errors.append(f"request to {request.url}")

    def expect_error(self, part: str) -> None:
        """The console may say this: Chromium reports every answer that is no success."""
        self.expected.append(part)

    def unexpected(self) -> list[str]:
        """What went wrong and was not expected."""
        return [error for error in self.errors if not any(part in error for part in self.expected)]

    def open(self, hash_: str = "#/") -> Page:
        """The page at this address behind the ``#``, drawn."""
        self.page.goto(self.url + hash_)
        expect(self.page.locator("h1")).to_be_attached()
        return self.page


@pytest.fixture
def visit(browser: Browser, server: ServerProcess) -> Iterator[Callable[..., Visit]]:
    """Opens pages, of the shared server unless another ``url`` is given; nothing may go wrong on them."""
    visits: list[Visit] = []

    def make(url: str | None = None, width: int = 1280, height: int = 900, **context: object) -> Visit:
        opened = browser.new_context(viewport={"width": width, "height": height}, **context)  # type: ignore[arg-type]
        opened.set_default_timeout(20_000)
        visits.append(Visit(opened.new_page(), url or server.url))
        return visits[-1]

    yield make
    wrong = [error for each in visits for error in each.unexpected()]
    for each in visits:
        each.page.context.close()
    assert not wrong, wrong
