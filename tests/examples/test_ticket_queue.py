"""The waiting room in headless Chromium, with several visitors at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chromium import chromium
from tests.examples.programs import Program, config
from tests.server_process import ServerProcess, wait_until

pytestmark = pytest.mark.extra

PHONE = {"width": 375, "height": 700}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


class Room:
    """RedQueue with the example's settings, where a visitor has ``seconds`` to come, and the web application."""

    def __init__(self, browser: Browser, directory: Path, seconds: float, ttl: str = "10h") -> None:
        self._browser = browser
        self.stack = ExitStack()
        text = config("ticket_queue").read_text()
        self._config = directory / "redqueue.toml"
        self._config.write_text(text.replace('"45s"', f'"{seconds}s"').replace('"10h"', f'"{ttl}"'))
        self._logdir = directory / "log"
        self.errors: list[str] = []
        self.start_redqueue()
        self.start_application(0)

    def start_redqueue(self, port: int = 0) -> None:
        """The server, with the journal that there is."""
        self.server = self.stack.enter_context(ServerProcess(self._logdir, port=port, config=self._config))

    def start_application(self, port: int) -> None:
        """The web application."""
        arguments = (f"--port={port}", f"--redqueue=127.0.0.1:{self.server.port}")
        self.application = self.stack.enter_context(Program("ticket_queue/app.py", *arguments))
        self.url = self.application.line_with("waiting room on").split()[-1]

    def open(self, path: str = "", **context: Any) -> Page:
        """A browser of one person."""
        opened = self._browser.new_context(**context)
        self.stack.callback(opened.close)
        page = opened.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.goto(self.url + path)
        expect(page.locator("#online")).to_have_text("live")
        return page

    def visitor(self, name: str, **context: Any) -> Page:
        """A visitor who has taken a number."""
        page = self.open(**context)
        page.get_by_label("first name").fill(name)
        page.get_by_role("button", name="Take a number").click()
        expect(page.locator("#number")).to_be_visible()
        return page


@pytest.fixture
def room(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Room]]:
    rooms: list[Room] = []

    def make(seconds: float = 600, **settings: str) -> Room:
        rooms.append(Room(browser, tmp_path, seconds, **settings))
        return rooms[-1]

    yield make
    for each in rooms:
        each.stack.close()


def says(page: Page, text: str) -> None:
    """Wait until the visitor's page says this."""
    expect(page.locator("#what")).to_have_text(re.compile(text))


def open_desk(desks: Page, number: int) -> None:
    """The staff of a desk is ready for the next visitor."""
    desks.locator("section").nth(number - 1).get_by_role("button", name=re.compile("Open|Next visitor")).click()


def test_visitors_see_who_is_ahead_and_are_called_in_turn(room: Callable[..., Room]) -> None:
    office = room()
    ada, bob, eve = (office.visitor(name) for name in ("Ada", "Bob", "Eve"))
    says(ada, "You are next")
    says(bob, "1 ahead of you")
    says(eve, "2 ahead of you")
    expect(eve.locator("#more")).to_have_text("Before you: 1 · Ada, 2 · Bob")
    desks = office.open("desks")
    open_desk(desks, 1)
    open_desk(desks, 2)
    says(ada, "Please come to desk 1")
    says(bob, "Please come to desk 2")
    says(eve, "You are next")
    bob.get_by_role("button", name="I am here").click()
    says(bob, "You are at desk 2")
    expect(desks.locator("section").nth(1)).to_contain_text("2 · Bob")
    open_desk(desks, 2)
    says(eve, "Please come to desk 2")
    says(bob, "Goodbye")
    says(ada, "Please come to desk 1")
    assert not office.errors


def test_who_does_not_come_loses_the_turn_and_the_third_is_first(room: Callable[..., Room]) -> None:
    office = room(seconds=4)
    first, second, third = (office.visitor(name) for name in ("Ada", "Bob", "Eve"))
    says(third, "2 ahead of you")
    third.evaluate("setInterval(() => document.querySelector('#come:not([hidden])')?.click(), 50)")  # comes at once
    open_desk(office.open("desks"), 1)
    says(first, "You have lost your turn")
    says(second, "You have lost your turn")
    says(third, "You are at desk 1")
    first.get_by_role("button", name="Take a new number").click()
    first.get_by_role("button", name="Take a number").click()
    expect(first.locator("#number")).to_have_text("4")
    says(first, "You are next")
    assert not office.errors


def test_tickets_end_with_the_day(room: Callable[..., Room]) -> None:
    office = room(ttl="1s")
    says(office.visitor("Ada"), "Goodbye")


def test_a_closed_desk_gives_its_visitor_back(room: Callable[..., Room]) -> None:
    office = room()
    ada, bob = office.visitor("Ada"), office.visitor("Bob")
    desks = office.open("desks")
    open_desk(desks, 1)
    says(ada, "Please come to desk 1")
    desks.locator("section").first.get_by_role("button", name="Close").click()
    says(ada, "You are next")
    says(bob, "1 ahead of you")


def test_many_visitors_at_once(room: Callable[..., Room]) -> None:
    office = room()
    visitors = [office.open() for _ in range(10)]
    for page in visitors:
        page.evaluate("document.querySelector('#take button').click()")
    for page in visitors:
        expect(page.locator("#number")).to_have_text(re.compile(r"^\d+$"))
    assert sorted(int(page.locator("#number").inner_text()) for page in visitors) == list(range(1, 11))
    for page in visitors:
        expect(page.locator("#count")).to_have_text("10")
        place = int(page.locator("#number").inner_text()) - 1
        says(page, f"{place} ahead of you" if place else "You are next")
    assert not office.errors


def test_restarts_lose_nobody(room: Callable[..., Room]) -> None:
    office = room()
    ada, bob = office.visitor("Ada"), office.visitor("Bob")
    open_desk(office.open("desks"), 1)
    says(ada, "Please come to desk 1")
    office.application.kill()
    expect(bob.locator("#online")).to_have_class("no")
    office.start_application(int(office.url.rstrip("/").rpartition(":")[2]))
    says(ada, "You are next")
    says(bob, "1 ahead of you")
    port = office.server.port
    office.server.kill()
    expect(bob.locator("#online")).to_have_class("no")
    office.start_redqueue(port)
    expect(bob.locator("#online")).to_have_class("yes")
    says(bob, "1 ahead of you")


def test_a_name_is_text_and_nothing_is_wider_than_a_phone(room: Callable[..., Room]) -> None:
    office = room()
    page = office.visitor("<b>MMMMMMMMMMMMMMMMMMMMMMMMMM</b>", viewport=PHONE, color_scheme="dark")
    expect(page.locator("#waiting li")).to_have_text("1 · <b>MMMMMMMMMMMMMMMMMMMMMMMMMM</b>"[:34])
    for opened in (page, office.open("desks", viewport=PHONE)):
        assert opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not office.errors


def test_a_form_of_another_site_changes_nothing(room: Callable[..., Room]) -> None:
    office = room()
    page = office.open()
    answer = page.request.post(office.url + "tickets", form={"name": "Mallory"})
    assert answer.status == 403
    wait_until(lambda: "queue_tickets_items" not in office.server.connect().stats())
