"""The list of all queues."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.conftest import Visit
from tests.server_process import ServerProcess, Wire

MANY = 10_000
Visits = Callable[..., Visit]


def row(page: Page, name: str) -> Locator:
    """The row of a queue."""
    return page.locator("tbody tr").filter(has=page.get_by_role("link", name=name, exact=True))


def cell(page: Page, name: str, column: str) -> Locator:
    """A figure of a queue."""
    return row(page, name).locator(f"td[data-label='{column}']")


def figure(page: Page, name: str) -> Locator:
    """One of the totals."""
    return (
        page.locator(".figure")
        .filter(has=page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$")))
        .locator("dd")
    )


class Load(threading.Thread):
    """A producer and a worker that go on until they are stopped."""

    def __init__(self, server: ServerProcess, queue: str) -> None:
        super().__init__(daemon=True)
        self._wire = server.connect()
        self._queue = queue.encode()
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.01):
            self._wire.put(self._queue, b"load")
            self._wire.put(self._queue, b"load")
            self._wire.get(self._queue)
            self._wire.ask(b"delete " + self._queue)

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()
        self._wire.close()


def test_figures_move_under_load_without_a_reload(visit: Visits, server: ServerProcess, wire: Wire, queue: str) -> None:
    page = visit().open(f"#/?search={queue}")
    expect(page.locator(".empty-title")).to_have_text("No queue has that in its name.")
    with Load(server, queue):
        expect(cell(page, queue, "In/s")).not_to_have_text(re.compile("^(0|\u2013)$"))
        expect(cell(page, queue, "Ack/s")).not_to_have_text("0")
        before = int(cell(page, queue, "Ready").inner_text())
        page.wait_for_function(
            "(before) => Number(document.querySelector('td[data-label=Ready]').textContent.replace(',', '')) > before",
            arg=before,
        )
        expect(figure(page, "In/s")).not_to_have_text("0")
        expect(page.locator(".health")).to_contain_text("All is well.")
    expect(cell(page, queue, "In/s")).to_have_text("0")
    assert wire.ask(b"drop " + queue.encode()) == b"OK"
    expect(page.locator(".empty-title")).to_be_visible()


def test_all_figures_of_a_queue(visit: Visits, server: ServerProcess, wire: Wire, queue: str) -> None:
    name = queue.encode()
    for _ in range(6):
        wire.put(name, b"payload")
    for _ in range(2):
        wire.put(name + b"/delay=1000", b"later")
    for _ in range(2):
        with server.connect() as lost:
            lost.get(name)
    with server.connect() as holder, server.connect() as waiter:
        holder.get(name)
        waiter.send(b"get nothing%s/t=60000\r\n" % name)
        page = visit().open(f"#/?search={queue}")
        for column, value in {"Ready": "4", "Reserved": "1", "Delayed": "2", "Dead": "1", "Consumers": "1"}.items():
            expect(cell(page, queue, column)).to_have_text(value)
        expect(cell(page, queue, "Oldest")).to_have_text(re.compile(r"\d+ (ms|s|min)"))
        expect(cell(page, f"nothing{queue}", "Waiting")).to_have_text("1")
        wire.ask(b"pause " + name)
        expect(row(page, queue).locator(".badge")).to_have_text("paused")
        page.get_by_role("link", name=queue, exact=True).click()
        expect(page.locator("h1")).to_have_text(queue)


def test_the_charts_are_drawn(visit: Visits, wire: Wire, queue: str) -> None:
    wire.put(queue.encode(), b"x")
    page = visit().open()
    expect(page.locator(".plot canvas")).to_have_count(2)
    page.wait_for_function(
        """() => {
            const canvas = document.querySelector(".plot canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let i = 0; i < data.length; i += 4) {  // the blue of the line of ready items
                if (data[i + 3] > 200 && data[i + 2] > data[i] + 100 && data[i + 2] > data[i + 1] + 60) return true;
            }
            return false;
        }"""
    )
    expect(page.locator(".plot").first).to_have_attribute("aria-label", re.compile(r"Items: Ready [\d,]+, Reserved"))
    for text in ("3 h", "24 h", "5 min"):
        page.get_by_role("button", name=text, exact=True).click()
        expect(page.get_by_role("button", name=text, exact=True)).to_have_attribute("aria-pressed", "true")
    shown = page.locator(".legend-entry").first
    shown.click()
    expect(shown).to_have_attribute("aria-pressed", "false")


ODD = [
    b"100%/done?x=1&y=2#frag",
    b"<script>alert(1)</script>",
    b"<img/src=x/onerror=alert(2)>",
    b"quote\"'`${alert(3)}",
    b"bytes\xff\xfe\x80",
    "größe-日本-🦊".encode(),
    "turned\u202eround\u200bzero".encode(),
    b"../../etc/passwd",
    b"%2e%2e%2F%00",
    b"back\\slash",
    b"constructor",
    b"__proto__",
]


def test_odd_names_are_escaped_and_lead_where_they_should(visit: Visits, wire: Wire) -> None:
    for i, name in enumerate(ODD):
        assert wire.put(name, b"item of %d" % i) == b"STORED"
    opened = visit()
    for i, name in enumerate(ODD):
        page = opened.open("#/")
        page.get_by_role("searchbox").fill(name.decode("utf-8", "ignore")[:12])
        expect(page).to_have_url(re.compile("search="))
        expect(page.locator("table.list")).not_to_have_class(re.compile("old"))
        page.locator(f"[data-row][href='#/queues/{quote_from_bytes(name, safe='')}']").click()
        expect(page.locator(".item-preview")).to_have_text(f"item of {i}")
        assert page.locator("h1 script, h1 img").count() == 0
    for name in ODD:
        wire.ask(b"drop " + name)


def test_names_that_would_mislead_are_shown_as_they_are(visit: Visits, wire: Wire, queue: str) -> None:
    wire.put(f"{queue}\u202etxt".encode(), b"x")
    wire.put(queue.encode() + b"\xff", b"x")
    page = visit().open(f"#/?search={queue}&sort=name")
    expect(page.locator("[data-row]")).to_have_text([f"{queue}\\u202etxt", f"{queue}\\xff"])


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with ten thousand queues, with a load on some of them."""
    with ServerProcess(Path(tmp_path_factory.mktemp("crowded")) / "log", http_port="any") as server:
        with server.connect(timeout=60) as wire:
            for start in range(0, MANY, 500):
                wire.send(b"".join(b"set tenant.%05d 0 0 1\r\nx\r\n" % i for i in range(start, start + 500)))
                for _ in range(500):
                    assert wire.line() == b"STORED"
            for i in range(60):
                wire.put(b"tenant.00042", b"%d" % i)
        with Load(server, "tenant.00777"):
            yield server


def test_ten_thousand_queues(visit: Visits, crowded: ServerProcess) -> None:
    page = visit(crowded.url).open()
    expect(page.locator("#queues")).to_contain_text(f"{MANY:,}")
    expect(page.locator("tbody tr")).to_have_count(50)
    expect(page.locator(".pager-where")).to_have_text(f"1\u201350 of {MANY:,}")
    expect(page.locator(".health")).to_contain_text(f"{MANY:,} queues hold")

    page.get_by_role("button", name="Queue", exact=True).click()
    expect(page.locator("[data-row]").first).to_have_text("tenant.00000")
    expect(page.get_by_role("columnheader", name="Queue")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("[data-row]").first).to_have_text("tenant.00050")
    page.get_by_role("button", name="Last page").click()
    expect(page.locator("[data-row]").last).to_have_text("tenant.09999")
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_role("button", name="Queue", exact=True).click()
    expect(page.locator("[data-row]").first).to_have_text("tenant.09999")
    page.reload()
    expect(page.locator("[data-row]").first).to_have_text("tenant.09999")

    page.locator("thead").get_by_role("button", name="Ready").click()
    expect(page.locator("[data-row]").first).to_have_text(re.compile("tenant.00(042|777)"))
    page.locator("thead").get_by_role("button", name="In/s").click()
    expect(page.locator("[data-row]").first).to_have_text("tenant.00777")

    page.get_by_role("searchbox").fill("TENANT.0123")
    expect(page.locator(".pager-where")).to_have_text("1\u201310 of 10")
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_role("searchbox").fill("no such")
    expect(page.locator(".empty-title")).to_have_text("No queue has that in its name.")
    page.get_by_role("button", name="Show all queues").click()
    expect(page.locator(".pager-where")).to_have_text(f"1\u201350 of {MANY:,}")
    page.get_by_label("Rows").select_option("200")
    expect(page.locator("tbody tr")).to_have_count(200)


def test_a_page_beyond_the_end_is_the_last_one_that_there_is(visit: Visits, crowded: ServerProcess) -> None:
    page = visit(crowded.url).open("#/?sort=name&search=tenant.0123&offset=5000")
    expect(page.locator("tbody tr")).to_have_count(10)


def test_the_first_queue_is_explained(visit: Visits, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server:
        page = visit(server.url).open()
        expect(page.locator(".empty-title")).to_have_text("There is no queue yet.")
        expect(page.locator(".health")).to_contain_text("There is no queue yet.")
        with server.connect() as wire:
            wire.put(b"jobs", b"x")
            expect(page.locator("[data-row]")).to_have_text("jobs")
            expect(page.locator(".health")).to_contain_text("1 queue holds 1 item.")
