"""The page by keyboard, on a phone, in the dark, and for those who have it read out to them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Visit
from tests.page.test_queue_page import choose, letters, open_item
from tests.server_process import ServerProcess, Wire

Visits = Callable[..., Visit]

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
"""Where tests/install-extra.sh puts it."""
PHONE = {"width": 390, "height": 844, "has_touch": True}
LONG = b"a.very.long.name.of.a.queue." * 8


@pytest.fixture
def busy(server: ServerProcess, wire: Wire, queue: str) -> str:
    """A queue that has something of everything."""
    letters(server, wire, queue, 2)
    for i in range(30):
        wire.put(queue.encode(), b'{"a long document": %d, "text": "%s"}' % (i, b"x" * 500))
    wire.put(queue.encode() + b"/delay=1000", b"later")
    wire.put(LONG, b"x")
    wire.put(queue.encode() + b"\xff<b>", b"x")
    return queue


def focused(page: Page) -> str:
    """What has the focus."""
    element = page.evaluate_handle("() => document.activeElement").as_element()
    assert element is not None
    return str(element.get_attribute("aria-label") or element.inner_text()).strip()


def is_focus_visible(page: Page) -> bool:
    """Whether one can see where the focus is."""
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outline")
    return "none" not in outline and "0px" not in outline


# -- the keyboard ------------------------------------------------------------------


def test_everything_by_keyboard(visit: Visits, wire: Wire, busy: str) -> None:
    page = visit().open()
    expect(page.locator("[data-row]").first).to_be_visible()
    press = page.keyboard.press
    press("Tab")
    assert focused(page) == "Skip to the content"
    assert is_focus_visible(page)
    for name in ("RedQueue, the queues", "Queues", "Connections", "Journal", "Server"):
        press("Tab")
        assert focused(page) == name
        assert is_focus_visible(page)

    press("/")
    page.keyboard.type(busy)
    press("Enter")
    expect(page.get_by_role("link", name=busy, exact=True)).to_be_focused()
    press("j")
    assert focused(page) == f"{busy}\\xff<b>" or focused(page) == f"{busy}.dead"
    press("k")
    assert focused(page) == busy
    press("Enter")
    expect(page.locator("h1")).to_have_text(busy)
    expect(page.locator("h1")).to_be_focused()
    expect(page).to_have_title(f"{busy} · RedQueue")

    expect(page.locator(".item")).to_have_count(20)
    press("j")
    press("Enter")
    expect(page.locator(".item-line").first).to_have_attribute("aria-expanded", "true")
    press("]")
    expect(page.locator(".item")).to_have_count(10)

    press("n")
    expect(page.locator("textarea")).to_be_focused()
    page.keyboard.type("n and / are letters here?")
    press("Control+Enter")
    expect(page.locator(".toast").first).to_contain_text("Put as item")
    press("p")
    expect(page.locator("dialog input")).to_be_focused()
    press("Escape")
    expect(page.locator("dialog")).to_have_count(0)

    press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    for keys, title in {"gc": "Connections", "gj": "Journal", "gs": "Server", "gq": "Queues"}.items():
        page.keyboard.type(keys)
        expect(page.locator("h1")).to_have_text(title)


def test_the_keys_can_be_turned_off(visit: Visits) -> None:
    page = visit().open()
    page.keyboard.press("?")
    page.get_by_label("These keys are in use").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator("h1")).to_be_attached()
    page.keyboard.press("t")
    page.keyboard.press("?")
    assert page.evaluate("() => document.documentElement.dataset.theme") is None
    expect(page.locator("dialog")).to_have_count(0)
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_label("These keys are in use").check()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()


def test_a_dialog_keeps_the_focus_and_gives_it_back(visit: Visits, busy: str) -> None:
    page = visit().open(f"#/queues/{busy}")
    drop = page.get_by_role("button", name="Drop")
    drop.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog input")).to_be_focused()
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate(
            "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    page.keyboard.press("Escape")
    expect(drop).to_be_focused()


# -- narrow, dark, read out -----------------------------------------------------------


def pages_of(queue: str) -> list[str]:
    return ["#/", f"#/queues/{queue}", f"#/queues/{LONG.decode()}", "#/connections", "#/journal", "#/server"]


def test_a_phone_scrolls_in_one_direction(visit: Visits, busy: str) -> None:
    opened = visit(**PHONE)
    for hash_ in pages_of(busy):
        page = opened.open(hash_)
        expect(page.locator(".loading")).to_have_count(0)
        if "/queues/" in hash_:
            open_item(page)
            page.locator("[data-choice=payload-hex]").click()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 390, hash_
        if "/queues/" in hash_:
            page.get_by_role("button", name="Drop").click()
            assert page.evaluate("() => document.documentElement.scrollWidth") == 390
            box = page.locator("dialog").bounding_box()
            assert box is not None
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
            page.keyboard.press("Escape")


def test_a_phone_has_figures_and_order(visit: Visits, busy: str) -> None:
    page = visit(**PHONE).open(f"#/?search={busy}")
    row = page.locator("tbody tr").filter(has=page.get_by_role("link", name=busy, exact=True))
    expect(row.locator("td[data-label=Ready]")).to_be_visible()
    expect(row.locator("td[data-label=Dead]")).to_be_visible()
    page.locator(".sort-by select").select_option("name")
    expect(page).to_have_url(f"{page.url.split('#')[0]}#/?search={busy}&sort=name&order=asc")


def test_the_theme_follows_the_system_until_one_is_chosen(visit: Visits) -> None:
    page = visit(color_scheme="dark").open()

    def is_dark() -> Any:
        return page.evaluate("() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]) < 60")

    assert is_dark()
    page.keyboard.press("t")
    assert not is_dark()
    page.reload()
    expect(page.locator("h1")).to_be_attached()
    assert not is_dark(), "it is kept"
    page.keyboard.press("t")
    assert is_dark()


EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.mark.parametrize(("scheme", "rules"), [("light", EVERY_RULE), ("dark", ["color-contrast"])])
def test_axe_finds_nothing(visit: Visits, busy: str, scheme: str, rules: list[str]) -> None:
    assert AXE.exists(), "axe-core is missing; install it with: tests/install-extra.sh .venv/bin/python"
    opened = visit(color_scheme=scheme, bypass_csp=True)

    def check(page: Page, what: str) -> None:
        found = page.evaluate("(only) => axe.run(document, { runOnly: only })", rules)
        assert found["passes"]
        broken = [(each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found["violations"]]
        assert not broken, (what, broken)

    for hash_ in pages_of(busy):
        page = opened.open(hash_)
        if hash_ == "#/":
            page.add_script_tag(path=AXE)
        expect(page.locator(".loading")).to_have_count(0)
        check(page, hash_)
        if hash_ == f"#/queues/{busy}":
            open_item(page)
            check(page, "an open item")
            choose(page, "dead")
            open_item(page)
            check(page, "a dead letter")
            for name in ("Put an item", "Pause", "Drop"):
                page.get_by_role("button", name=name).click()
                check(page, name)
                page.keyboard.press("Escape")
                expect(page.locator("dialog")).to_have_count(0)
            page.keyboard.press("?")
            check(page, "help")
            page.keyboard.press("Escape")
