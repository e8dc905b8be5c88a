"""The server's own pages: its switches, its connections, its journal; and what is seen when it is gone."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.documents import free_port
from tests.page.conftest import Visit
from tests.server_process import ServerProcess, wait_until

Visits = Callable[..., Visit]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that a test has for itself."""
    options = {"http_port": free_port(), "segment_size": "64kb", "max_item_size": "8kb"}
    with ServerProcess(tmp_path / "log", **options) as server:
        yield server


def switch(page: Page, name: str, confirm: str = "") -> None:
    """Turn a switch, and confirm it where that is asked for."""
    page.get_by_role("switch", name=name).click()
    if confirm:
        page.locator("dialog").get_by_role("button", name=confirm).click()


@pytest.mark.parametrize(
    ("name", "confirm", "state", "words"),
    [
        ("Read-only", "Make read-only", "Read-only", "The server is read-only: it takes no new items."),
        ("Drain", "Drain", "Draining", "The server is draining: it takes no new items, and hands out those"),
    ],
)
def test_the_switches(visit: Visits, own: ServerProcess, name: str, confirm: str, state: str, words: str) -> None:
    opened = visit(own.url)
    opened.expect_error("409")
    page = opened.open("#/server")
    with own.connect() as wire:
        wire.put(b"jobs", b"x")
        switch(page, name, confirm)
        expect(page.get_by_role("switch", name=name)).to_have_attribute("aria-checked", "true")
        expect(page.locator("dialog")).to_have_count(0)
        expect(page.locator(".state")).to_have_text(state)
        assert wire.put(b"jobs", b"x") == b"NOT_STORED"
        assert len(wire.get(b"jobs")) == 1
        page.keyboard.type("gq")
        expect(page.locator(".health")).to_contain_text("No new items.")
        expect(page.locator(".health")).to_contain_text(words)
        page.locator("[data-row]").click()
        page.get_by_role("button", name="Put an item").click()
        page.locator("textarea").fill("x")
        page.locator("dialog").get_by_role("button", name="Put", exact=True).click()
        expect(page.locator("dialog").get_by_role("alert")).to_have_text("the server takes no new items now")
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        page.keyboard.type("gs")
        switch(page, name)
        expect(page.locator(".state")).to_have_text("Healthy")
        assert wire.put(b"jobs", b"x") == b"STORED"


def test_what_is_told_of_the_server(visit: Visits, own: ServerProcess) -> None:
    page = visit(own.url).open("#/server")
    process = page.locator(".card").filter(has=page.locator("#process"))
    expect(process.locator("dd").nth(1)).to_have_text(f"{own.process.pid:,}".replace(",", ""))
    expect(process).to_contain_text("kill -9 (reliable=yes)")
    with own.connect() as wire:
        wire.put(b"jobs", b"x")
        line = page.locator(".facts.many > div").filter(has_text="cmd_set")
        expect(line.locator("dd")).to_have_text("1")


def test_connections(visit: Visits, own: ServerProcess) -> None:
    page = visit(own.url).open("#/connections")
    expect(page.locator(".empty-title")).to_have_text("Nobody is connected.")
    with own.connect() as holder, own.connect() as waiter:
        holder.put(b"jobs", b"x")
        holder.get(b"jobs")
        waiter.send(b"get other/t=60000\r\n")
        expect(page.locator("tbody tr")).to_have_count(2)
        expect(page.locator("td[data-label=Reserved]")).to_have_text(["1", "0"])
        expect(page.locator("td[data-label=Waiting]")).to_have_text(["no", "yes"])
        ours = ":".join(map(str, holder.socket.getsockname()))
        expect(page.locator("tbody code").first).to_have_text(ours)


def test_the_segments_of_the_journal(visit: Visits, own: ServerProcess) -> None:
    with own.connect() as wire:
        for i in range(60):
            wire.put(b"keep" if i % 2 else b"go", b"x" * 4000)
        wire.ask(b"flush go")
        page = visit(own.url).open("#/journal")
        expect(page.locator("tbody tr").last.locator(".badge")).to_have_text("current")
        expect(page.locator(".figure").filter(has_text="Live items").locator("dd")).to_have_text("30")
        expect(page.locator(".bar").first).to_have_attribute("aria-label", re.compile(r"\d+ % of \d+ KiB is live"))
        count = page.locator(".figure").filter(has_text="Segments").locator("dd").inner_text()
        assert page.locator("tbody tr").count() >= 2
        assert int(count) >= 2
        widths = (
            page.locator(".bar")
            .first.locator("rect")
            .evaluate_all("all => all.map(e => Number(e.getAttribute('width')))")
        )
        assert 0 < widths[1] < widths[0] <= 100


def test_a_server_without_a_journal(visit: Visits, tmp_path: Path) -> None:
    with ServerProcess(tmp_path, http_port="any", reliable="no") as server:
        page = visit(server.url).open("#/journal")
        expect(page.locator(".empty-title")).to_have_text("There is no journal.")


def test_a_server_that_goes_and_comes_back(visit: Visits, own: ServerProcess) -> None:
    with own.connect() as wire:
        wire.put(b"jobs", b"x")
    opened = visit(own.url)
    opened.expect_error("ERR_CONNECTION")
    opened.expect_error("ERR_EMPTY_RESPONSE")
    opened.expect_error("503")
    page = opened.open()
    expect(page.locator("[data-row]")).to_have_text("jobs")
    own.stop(signal.SIGKILL)
    expect(page.locator(".banner")).to_contain_text(
        "The server cannot be reached. What you see is what was known before."
    )
    expect(page.locator(".state")).to_have_text("Out of touch")
    expect(page.locator("[data-row]")).to_have_text("jobs")
    own.start()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".banner")).to_have_count(0)
    expect(page.locator(".state")).to_have_text("Healthy")
    with own.connect() as wire:
        wire.put(b"more", b"x")
        expect(page.locator("[data-row]")).to_have_count(2)


def test_a_hidden_page_asks_seldom(visit: Visits, own: ServerProcess) -> None:
    opened = visit(own.url)
    asked: list[str] = []
    opened.page.on("request", lambda request: asked.append(request.url))
    opened.page.add_init_script(
        "Object.defineProperty(document, 'hidden', { get: () => window.isHidden === true, configurable: true })"
    )
    opened.page.clock.install()
    page = opened.open()
    expect(page.locator(".empty-title")).to_be_visible()
    page.evaluate("() => { window.isHidden = true; }")
    page.clock.run_for(5_000)  # what was due before it was hidden is asked once more
    page.wait_for_load_state("networkidle")
    before = len(asked)
    page.clock.run_for(20_000)
    page.wait_for_load_state("networkidle")
    assert len(asked) == before
    page.clock.run_for(15_000)
    wait_until(lambda: page.wait_for_load_state() or len(asked) > before, what="a question after half a minute")
    page.evaluate("() => { window.isHidden = false; document.dispatchEvent(new Event('visibilitychange')); }")
    with own.connect() as wire:
        wire.put(b"jobs", b"x")
        expect(page.locator("[data-row]")).to_have_text("jobs")
