"""One queue: looking into it, and changing it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Visit
from tests.server_process import ServerProcess, Wire

Visits = Callable[..., Visit]


def choose(page: Page, state: str) -> None:
    """Show the items in this state."""
    page.locator(f"[data-choice=items-{state}]").click()


def open_item(page: Page, number: int = 0) -> None:
    """Look into one of the items that are listed."""
    page.locator(".item-line").nth(number).click()


def show_as(page: Page, form: str) -> None:
    """Show the payload as text, json or hex."""
    page.locator(f"[data-choice=payload-{form}]").click()


def facts(page: Page) -> dict[str, str]:
    """What is said of the item that is open."""
    names = page.locator(".item-facts dt").all_inner_texts()
    return dict(zip(names, page.locator(".item-facts dd").all_inner_texts(), strict=True))


def confirm(page: Page, name: str) -> None:
    """Type a name into the dialog that asks for it."""
    page.locator("dialog input[name=name]").fill(name)


def letters(server: ServerProcess, wire: Wire, queue: str, count: int) -> None:
    """Have so many items of a queue become dead letters."""
    for i in range(count):
        wire.put(queue.encode(), b"bad %d" % i)
    for _ in range(2 * count):
        with server.connect() as lost:
            assert lost.get(queue.encode())


# -- looking ---------------------------------------------------------------------


def test_payloads_as_text_json_and_hex(visit: Visits, wire: Wire, queue: str) -> None:
    name = queue.encode()
    document = b'{"id":12345678901234567890,"a":[1.50,null,{}],"a":"twice","u":"\\u00e9"}'
    wire.put(name, document, flags=7, exptime=3600)
    wire.put(name, bytes(range(256)))
    wire.put(name, "Grüße\nzweite Zeile \u202e<b>".encode())
    wire.put(name, b"")
    page = visit().open(f"#/queues/{queue}")
    expect(page.locator(".item")).to_have_count(4)
    expect(page.locator(".item-preview").nth(2)).to_have_text("Grüße zweite Zeile \\u202e<b>")
    expect(page.locator(".item-preview").nth(3)).to_have_text("(empty)")

    open_item(page)
    expect(page.locator("pre")).to_have_text(
        '{\n  "id": 12345678901234567890,\n  "a": [\n    1.50,\n    null,\n    {}\n  ],\n'
        '  "a": "twice",\n  "u": "\\u00e9"\n}',
        use_inner_text=True,
    )
    assert facts(page)["Flags"] == "7"
    assert re.fullmatch(r"(59 min \d+ s|1 h) left", facts(page)["Time to live"])
    show_as(page, "text")
    expect(page.locator("pre")).to_have_text(document.decode())
    show_as(page, "hex")
    expect(page.locator("pre")).to_contain_text("000000  7b 22 69 64 22 3a 31 32  33 34 35 36 37 38 39 30")

    open_item(page, 1)
    expect(page.locator("pre")).to_contain_text("0000f0  f0 f1 f2 f3 f4 f5 f6 f7  f8 f9 fa fb fc fd fe ff")
    show_as(page, "text")
    expect(page.locator(".item-payload .hint")).to_have_text("This is no UTF-8 text; the hex dump shows it.")
    open_item(page, 2)
    expect(page.locator("pre")).to_have_text("Grüße\nzweite Zeile \\u202e<b>", use_inner_text=True)
    open_item(page, 3)
    expect(page.locator(".item-payload .hint")).to_have_text("The payload is empty.")


def test_a_long_payload_is_shown_bit_by_bit(visit: Visits, wire: Wire, queue: str) -> None:
    text = " ".join(str(i) for i in range(20_000))
    wire.put(queue.encode(), text.encode())
    page = visit().open(f"#/queues/{queue}")
    open_item(page)
    expect(page.locator(".item-payload .hint")).to_contain_text(f"The first 4.0 KiB of {len(text) / 1024:.0f} KiB.")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".item-payload .hint")).to_have_count(0)
    expect(page.locator("pre")).to_have_text(text)


def test_items_in_all_states(visit: Visits, server: ServerProcess, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.put(name, b"held")
    wire.put(name + b"/delay=500", b"delayed")
    with server.connect() as holder:
        holder.get(name)
        page = visit().open(f"#/queues/{queue}")
        expect(page.locator(".item-preview")).to_have_text("held")
        open_item(page)
        found = facts(page)
        assert re.fullmatch(r"(4 min \d+ s|5 min)", found["Reservation ends in"])
        assert found["Held by"].startswith("127.0.0.1:")
        choose(page, "delayed")
        expect(page.locator(".item-age")).to_have_text(re.compile(r"in 8 min( \d+ s)?"))
        choose(page, "ready")
        expect(page.locator(".empty-title")).to_have_text("Nothing is ready.")
        wire.put(name, b"new")
        expect(page.locator(".item-preview")).to_have_text("new")


def test_a_long_list_is_paged(visit: Visits, wire: Wire, queue: str) -> None:
    for i in range(45):
        wire.put(queue.encode(), b"item %d" % i)
    page = visit().open(f"#/queues/{queue}")
    expect(page.locator(".pager-where")).to_have_text("1\u201320 of 45")
    page.get_by_role("button", name="Last page").click()
    expect(page.locator(".item-preview")).to_have_text([f"item {i}" for i in range(40, 45)])
    page.get_by_role("button", name="Previous page").click()
    expect(page.locator(".item-preview").first).to_have_text("item 20")
    wire.get(queue.encode())
    expect(page.locator(".items .card-foot")).to_contain_text("it has changed since")
    page.get_by_role("button", name="Refresh").click()
    expect(page.locator(".item-preview").first).to_have_text("item 21")


def test_the_settings_in_force(visit: Visits, wire: Wire, queue: str) -> None:
    wire.put(queue.encode(), b"x")
    page = visit().open(f"#/queues/{queue}")
    settings = page.locator(".card").filter(has=page.locator("#settings"))
    for setting, value in {"reserve_timeout": "5 min", "max_deliveries": "2", "max_items": "no limit"}.items():
        line = settings.locator(".facts > div").filter(has_text=setting)
        expect(line.locator("dd")).to_have_text(value)
    expect(settings.get_by_role("link", name=f"{queue}.dead")).to_have_attribute("href", f"#/queues/{queue}.dead")


def test_a_queue_that_is_not_there(visit: Visits, wire: Wire, queue: str) -> None:
    opened = visit()
    opened.expect_error("404")
    page = opened.open(f"#/queues/{queue}")
    expect(page.locator(".empty-title")).to_have_text("There is no such queue now.")
    page.get_by_role("button", name="Put an item").click()
    page.locator("textarea").fill("the first")
    page.get_by_role("button", name="Put", exact=True).click()
    expect(page.locator(".item-preview")).to_have_text("the first")


# -- changing --------------------------------------------------------------------


def test_an_item_is_put(visit: Visits, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.put(name, b"before")
    page = visit().open(f"#/queues/{queue}")

    def put(payload: str, **fields: str) -> None:
        page.get_by_role("button", name="Put an item").click()
        if "base64" in fields:
            page.locator("dialog").get_by_role("button", name="Base64").click()
            del fields["base64"]
        page.locator("textarea").fill(payload)
        for field, value in fields.items():
            page.locator(f"dialog input[name={field}]").fill(value)
        page.locator("dialog").get_by_role("button", name="Put", exact=True).click()

    put("Grüße\n", flags="12", ttl="100")
    expect(page.locator(".toast").last).to_have_text(re.compile(r"Put as item \d+\."))
    put("AAH/", base64="yes")
    expect(page.locator(".item")).to_have_count(3)
    put("later", delay="300.5")
    expect(page.locator("[data-choice=items-delayed]")).to_have_text("Delayed 1")
    assert wire.get(name) == [(name, 0, b"before")]
    wire.ask(b"delete " + name)
    assert wire.get(name) == [(name, 12, "Grüße\n".encode())]
    wire.ask(b"delete " + name)
    assert wire.get(name) == [(name, 0, b"\0\x01\xff")]


def test_what_cannot_be_put_is_explained(visit: Visits, wire: Wire, queue: str) -> None:
    wire.put(queue.encode(), b"x")
    opened = visit()
    opened.expect_error("400")
    page = opened.open(f"#/queues/{queue}")
    page.get_by_role("button", name="Put an item").click()
    dialog = page.locator("dialog")
    for field, value, complaint in [
        ("flags", "4294967296", "Flags wants a whole number, at most 4294967295."),
        ("flags", "-1", "Flags wants a whole number"),
        ("delay", "soon", "Delay wants a number of seconds, such as 90 or 0.5."),
    ]:
        dialog.locator(f"input[name={field}]").fill(value)
        dialog.get_by_role("button", name="Put", exact=True).click()
        expect(dialog.get_by_role("alert")).to_contain_text(complaint)
        dialog.locator(f"input[name={field}]").fill("")
    dialog.get_by_role("button", name="Base64").click()
    dialog.locator("textarea").fill("?")
    dialog.get_by_role("button", name="Put", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("payload_base64 is no base64")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert len(wire.get(queue.encode() + b"/peek")) == 1


def test_pause_and_resume(visit: Visits, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.put(name, b"x")
    page = visit().open(f"#/queues/{queue}")
    page.get_by_role("button", name="Pause").click()
    page.locator("dialog").get_by_role("button", name="1 min").click()
    expect(page.locator("dialog input")).to_have_value("60")
    page.locator("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".remark")).to_contain_text(re.compile(r"Paused for another (1 min|\d+ s):"))
    assert wire.get(name) == []
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert wire.get(name) == [(name, 0, b"x")]
    page.get_by_role("button", name="Pause").click()
    page.locator("dialog input").fill("0")
    page.locator("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator("dialog").get_by_role("alert")).to_contain_text("A pause takes a second at least")
    page.locator("dialog").get_by_role("button", name="Until resumed").click()
    page.locator("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".remark")).to_contain_text("Paused until it is resumed")


def test_a_flush_wants_the_name(visit: Visits, wire: Wire, queue: str) -> None:
    name = f"{queue}/<b>&%".encode()
    for _ in range(3):
        wire.put(name, b"x")
    page = visit().open(f"#/queues/{queue}%2F%3Cb%3E%26%25")
    page.get_by_role("button", name="Flush").click()
    do_it = page.locator("dialog").get_by_role("button", name="Flush")
    expect(page.locator("dialog")).to_contain_text("3 items")
    expect(do_it).to_be_disabled()
    confirm(page, queue)
    expect(do_it).to_be_disabled()
    page.keyboard.press("Enter")
    confirm(page, name.decode())
    do_it.click()
    expect(page.locator(".toast")).to_have_text("The queue is empty.")
    assert wire.get(name + b"/peek") == []


def test_a_drop_wants_the_name_and_leads_back_to_the_list(visit: Visits, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.put(name, b"x")
    wire.ask(b"pause " + name)
    page = visit().open(f"#/queues/{queue}")
    page.get_by_role("button", name="Drop").click()
    page.locator("dialog").get_by_role("button", name="Cancel").click()
    assert wire.stats(b"queue " + name)
    page.get_by_role("button", name="Drop").click()
    confirm(page, queue)
    page.locator("dialog").get_by_role("button", name="Drop").click()
    expect(page.locator("h1")).to_have_text("Queues")
    assert wire.stats(b"queue " + name) == {}


def test_dead_letters_are_redriven_one_or_all(visit: Visits, server: ServerProcess, wire: Wire, queue: str) -> None:
    name = queue.encode()
    letters(server, wire, queue, 4)
    wire.put(name, b"good")
    page = visit().open(f"#/queues/{queue}")
    expect(page.locator(".figure").filter(has_text="Dead").locator("dd")).to_have_text("4")
    choose(page, "dead")
    expect(page.locator(".item-preview")).to_have_text([f"bad {i}" for i in range(4)])
    open_item(page, 1)
    expect(page.locator(".history")).to_contain_text(f"Put on {queue}")
    expect(page.locator(".history")).to_contain_text("lost without an acknowledgement: 2 times")
    page.get_by_role("button", name=f"Redrive to {queue}").click()
    expect(page.locator(".item-preview")).to_have_text(["bad 0", "bad 2", "bad 3"])
    assert json.loads(str(wire.stats(b"queue " + name)["items"])) == 2
    page.get_by_role("button", name="Redrive all").click()
    expect(page.locator("dialog")).to_contain_text("3 dead letters go back")
    page.locator("dialog").get_by_role("button", name="Redrive all").click()
    expect(page.locator(".empty-title")).to_have_text("There are no dead letters.")
    assert wire.stats(b"queue " + name)["items"] == "5"


def test_the_queue_of_the_dead_letters_itself(visit: Visits, server: ServerProcess, wire: Wire, queue: str) -> None:
    letters(server, wire, queue, 2)
    page = visit().open(f"#/queues/{queue}.dead")
    expect(page.locator(".page-title .badge")).to_have_text("dead letters")
    page.get_by_role("button", name="Redrive all").click()
    page.locator("dialog").get_by_role("button", name="Redrive all").click()
    expect(page.locator(".figure").filter(has_text="Ready").locator("dd")).to_have_text("0")
    assert wire.stats(b"queue " + queue.encode())["items"] == "2"


@pytest.mark.parametrize("what", ["flush", "drop"])
def test_a_form_of_another_site_changes_nothing(visit: Visits, wire: Wire, queue: str, what: str) -> None:
    """As does a script: what it would have to send, a browser does not let it."""
    wire.put(queue.encode(), b"x")
    opened = visit()
    target = f"{opened.url}api/queues/{queue}" + ("/flush" if what == "flush" else "")
    evil = opened.page.context.new_page()
    evil.route(
        "http://evil.example/",
        lambda route: route.fulfill(
            content_type="text/html", body=f'<form method="post" action="{target}"><button>Win</button></form>'
        ),
    )
    evil.goto("http://evil.example/")
    outcome = evil.evaluate(
        """async ([target, method]) => {
            try {
                await fetch(target, { method, headers: { "X-RedQueue-Request": "1" } });
                return "sent";
            } catch {
                return "refused";
            }
        }""",
        [target, "POST" if what == "flush" else "DELETE"],
    )
    assert outcome == "refused"
    with evil.expect_navigation():
        evil.get_by_role("button", name="Win").click()
    assert "error" in evil.locator("body").inner_text()
    assert len(wire.get(queue.encode() + b"/peek")) == 1
