"""A server with users: who may do what is seen on the page, and kept by the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.conftest import Visit
from tests.server_process import ServerProcess, Wire
from tests.users_file import write_users

Visits = Callable[..., Visit]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with an admin, and with somebody who may read some queues and write one."""
    directory: Path = tmp_path_factory.mktemp("guarded")
    users = write_users(
        directory / "users",
        root="secret admin=#",
        guest="word reader=orders.# writer=orders.new",
        clerk="word admin=orders.#",
    )
    with ServerProcess(directory / "log", http_port="any", users=users) as server:
        with server.connect() as wire:
            sign_in(wire, b"root secret")
            for name in (b"orders.new", b"orders.old", b"salaries"):
                assert wire.put(name, b"item of " + name) == b"STORED"
        yield server


def sign_in(wire: Wire, credentials: bytes) -> None:
    """As memcached's text clients do."""
    assert wire.put(b"auth", credentials) == b"STORED"


def credentials(name: str, password: str) -> dict[str, object]:
    return {"http_credentials": {"username": name, "password": password}}


def test_an_admin_may_do_everything(visit: Visits, guarded: ServerProcess) -> None:
    page = visit(guarded.url, **credentials("root", "secret")).open()
    expect(page.locator("[data-row]")).to_have_text(["orders.new", "orders.old", "salaries"])
    page.keyboard.type("gs")
    expect(page.locator(".card").filter(has=page.locator("#process"))).to_contain_text("root: admin=#")
    expect(page.get_by_role("switch", name="Drain")).to_be_enabled()


def test_a_reader_sees_what_is_theirs_and_changes_nothing(visit: Visits, guarded: ServerProcess) -> None:
    opened = visit(guarded.url, **credentials("guest", "word"))
    opened.expect_error("403")
    page = opened.open()
    expect(page.locator("[data-row]")).to_have_text(["orders.new", "orders.old"])
    page.get_by_role("link", name="orders.old").click()
    expect(page.locator(".item-preview")).to_have_text("item of orders.old")
    for name in ("Put an item", "Pause", "Flush", "Drop"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_role("button", name="Drop")).to_have_attribute("title", "This needs the role admin")
    refused = page.evaluate(
        """async () => {
            const how = { method: "DELETE", headers: { "X-RedQueue-Request": "1" } };
            return (await fetch("api/queues/orders.old", how)).status;
        }"""
    )
    assert refused == 403
    page = opened.open("#/queues/salaries")
    expect(page.locator(".failure")).to_have_text("You may not do that: you are no reader of this queue.Try again")
    page = opened.open("#/server")
    expect(page.get_by_role("switch", name="Drain")).to_be_disabled()
    page = opened.open("#/connections")
    expect(page.locator(".failure")).to_contain_text("You may not do that")


def test_a_writer_may_put(visit: Visits, guarded: ServerProcess) -> None:
    page = visit(guarded.url, **credentials("guest", "word")).open("#/queues/orders.new")
    expect(page.get_by_role("button", name="Drop")).to_be_disabled()
    page.get_by_role("button", name="Put an item").click()
    page.locator("textarea").fill("mine")
    page.locator("dialog").get_by_role("button", name="Put", exact=True).click()
    expect(page.locator(".item-preview")).to_have_text(["item of orders.new", "mine"])


def test_the_admin_of_some_queues(visit: Visits, guarded: ServerProcess) -> None:
    page = visit(guarded.url, **credentials("clerk", "word")).open("#/queues/orders.new")
    page.get_by_role("button", name="Pause").click()
    page.locator("dialog").get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()


@pytest.mark.parametrize("login", [{}, credentials("root", "guess")], ids=["nobody", "a wrong password"])
def test_nobody_else_sees_anything(visit: Visits, guarded: ServerProcess, login: dict[str, object]) -> None:
    answer = visit(guarded.url, **login).page.request.get(guarded.url)
    assert answer.status == 401
    assert 'Basic realm="RedQueue"' in answer.headers["www-authenticate"]
    assert answer.json() == {"error": "name and password are needed"}


def test_whose_password_has_changed_is_told(visit: Visits, guarded: ServerProcess) -> None:
    opened = visit(guarded.url, **credentials("root", "secret"))
    opened.expect_error("401")
    page = opened.open()
    expect(page.locator("[data-row]").first).to_be_visible()
    page.route("**/api/**", lambda route: route.fulfill(status=401, json={"error": "name and password are needed"}))
    expect(page.locator(".banner")).to_contain_text("The server wants a user name and a password.")
