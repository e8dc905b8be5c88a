"""Changing queues over HTTP."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until
from tests.web.api import Api


def test_an_item_is_put(api: Api, wire: Wire, queue: str) -> None:
    name = queue.encode()
    first = api.post(f"/api/queues/{queue}/items", payload="café", flags=7)["id"]
    data = bytes(range(256))
    second = api.post(f"/api/queues/{queue}/items", payload_base64=b64encode(data).decode(), ttl=1.5)["id"]
    api.post(f"/api/queues/{queue}/items", payload="later", delay=1000.5)
    assert second > first
    assert wire.get(name) == [(name, 7, "café".encode())]
    assert wire.ask(b"delete " + name) == b"DELETED"
    assert wire.get(name) == [(name, 0, data)]
    (delayed,) = api.get(f"/api/queues/{queue}/items?state=delayed")["items"]
    assert 990 < delayed["due_in"] <= 1000.5


def test_a_long_life_is_counted_from_now(api: Api, queue: str) -> None:
    api.post(f"/api/queues/{queue}/items", payload="x", ttl=86400 * 365)
    (item,) = api.get(f"/api/queues/{queue}/items")["items"]
    assert 86400 * 364 < item["ttl"] < 86400 * 366


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "an item has either payload"),
        ({"payload": "x", "payload_base64": "eA=="}, "an item has either payload"),
        ({"payload": 5}, "a payload is a JSON string"),
        ({"payload": "\ud800"}, "payload has half a surrogate pair"),
        ({"payload_base64": "?"}, "payload_base64 is no base64"),
        ({"payload": "x", "flags": -1}, "flags takes a whole number from 0 to"),
        ({"payload": "x", "flags": True}, "flags takes"),
        ({"payload": "x", "flags": 0.5}, "flags takes"),
        ({"payload": "x", "flags": None}, "flags takes"),
        ({"payload": "x", "ttl": -1}, "ttl takes seconds from 0 to"),
        ({"payload": "x", "ttl": "5"}, "ttl takes"),
        ({"payload": "x", "delay": float("nan")}, "delay takes"),
        ({"payload": "x", "delay": float("inf")}, "delay takes"),
        ({"payload": "x", "dealy": 5}, "unknown field 'dealy'; payload,"),
        ([1], "the body wants to be a JSON object"),
    ],
)
def test_a_bad_field_is_named_and_nothing_is_put(api: Api, queue: str, fields: object, complaint: str) -> None:
    status, found = api.try_to("POST", f"/api/queues/{queue}/items", fields)
    assert status == 400
    assert found["error"].startswith(complaint)
    assert api.try_to("GET", f"/api/queues/{queue}")[0] == 404


def test_a_body_is_json_and_says_so(api: Api, queue: str) -> None:
    path, change = f"/api/queues/{queue}/items", {"X-RedQueue-Request": "1"}
    assert api.send("POST", path, b'{"payload": "x"}', change)[0] == 415
    headers = {**change, "Content-Type": "application/json; charset=utf-8"}
    for body in (b"{", b"\xff", b"[" * 20_000):
        assert api.send("POST", path, body, headers)[0] == 400
    assert api.send("POST", path, b'{"payload": "x"}', headers)[0] == 201


def test_an_item_that_is_too_long_is_refused(api: Api, queue: str) -> None:
    path = f"/api/queues/{queue}/items"
    assert api.try_to("POST", path, {"payload": "x" * (64 << 10)})[0] == 201
    status, found = api.try_to("POST", path, {"payload": "x" * ((64 << 10) + 1)})
    assert (status, found["error"]) == (413, "the item is longer than max_item_size, 65536 bytes")
    status, found = api.try_to("POST", path, {"payload": "x" * 300_000})
    assert (status, found["error"]) == (413, "the body is longer than 196608 bytes")


@pytest.mark.parametrize("name", ["a%20b", "a%00", "a%0D%0Adrop%20b", "q/peek", "a" * 251, "q%2Fpeek", "%2Fopen"])
def test_a_name_that_no_command_can_say_is_refused(api: Api, name: str) -> None:
    for path in ("items", "pause", "redrive"):
        status, found = api.try_to("POST", f"/api/queues/{name}/{path}", {"payload": "x"} if path == "items" else {})
        assert status in (400, 404)
        assert found["error"]
    assert api.try_to("DELETE", f"/api/queues/{name}")[0] in (400, 404)


def test_a_queue_is_paused_and_resumed(api: Api, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.put(name, b"x")
    api.post(f"/api/queues/{queue}/pause", seconds=500)
    row = api.get(f"/api/queues/{queue}")
    assert row["paused"]
    assert 400 < row["resumes_in"] <= 500
    assert wire.get(name) == []
    api.post(f"/api/queues/{queue}/pause")
    assert api.get(f"/api/queues/{queue}")["resumes_in"] is None
    api.post(f"/api/queues/{queue}/resume")
    assert wire.get(name)


def test_a_queue_is_flushed_and_dropped(api: Api, wire: Wire, queue: str) -> None:
    wire.put(queue.encode(), b"x")
    wire.put(queue.encode(), b"y")
    api.post(f"/api/queues/{queue}/flush")
    assert api.get(f"/api/queues/{queue}")["items"] == 0
    wire.put(queue.encode(), b"x")
    api.ask("DELETE", f"/api/queues/{queue}")
    assert api.try_to("GET", f"/api/queues/{queue}")[0] == 404


def test_dead_letters_are_redriven_one_some_or_all(tmp_path: Path) -> None:
    options = {"http_port": "any", "max_deliveries": 1, "memory": "64kb", "prefetch": 300}
    with ServerProcess(tmp_path / "log", **options) as server:
        api = Api(server.url)
        with server.connect() as worker:
            for number in range(300):
                worker.put(b"q", b"%03d" % number + b"x" * 1000)
            for _ in range(300):
                assert worker.get(b"q")
        wait_until(lambda: api.get("/api/server")["totals"]["dead"] == 300)
        server.stop()
        server.start()  # from here on most of them are not in memory
        api = Api(server.url)
        letters = api.get("/api/queues/q.dead/items?offset=200&limit=100")["items"]
        assert [letter["losses"] for letter in letters] == [1] * 100
        with server.connect() as wire:
            for letter in (letters[50], letters[0]):
                api.post("/api/queues/q.dead/redrive", id=letter["id"])
                assert api.try_to("POST", "/api/queues/q.dead/redrive", {"id": letter["id"]})[0] == 404
            assert [wire.get(b"q")[0][2][:3] for _ in range(2)] == [b"250", b"200"]
            api.post("/api/queues/q.dead/redrive", count=5)
            assert [wire.get(b"q")[0][2][:3] for _ in range(5)] == [b"000", b"001", b"002", b"003", b"004"]
            api.post("/api/queues/q.dead/redrive")
            wait_until(lambda: api.get("/api/queues/q")["ready"] == 293)
            assert api.try_to("POST", "/api/queues/q.dead/redrive")[0] == 404


@pytest.mark.parametrize("fields", [{"id": 1, "count": 1}, {"id": 0}, {"count": 0}, {"id": "1"}, {"count": 2.5}])
def test_a_bad_choice_of_dead_letters_is_refused(api: Api, queue: str, fields: dict[str, object]) -> None:
    assert api.try_to("POST", f"/api/queues/{queue}/redrive", fields)[0] == 400


def test_what_is_not_there_cannot_be_changed(api: Api, queue: str) -> None:
    for verb in ("pause", "resume", "flush", "redrive"):
        assert api.try_to("POST", f"/api/queues/{queue}/{verb}")[0] == 404
    assert api.try_to("DELETE", f"/api/queues/{queue}")[0] == 404


def test_a_server_that_takes_no_items_says_so(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", max_items=1) as server, server.connect() as wire:
        api = Api(server.url)
        api.post("/api/queues/q/items", payload="x")
        status, found = api.try_to("POST", "/api/queues/q/items", {"payload": "x"})
        assert (status, found["error"]) == (409, "the queue is full")
        for path, ready in (("readonly", 200), ("drain", 503)):
            api.post(f"/api/server/{path}", on=True)
            status, found = api.try_to("POST", "/api/queues/p/items", {"payload": "x"})
            assert (status, found["error"]) == (409, "the server takes no new items now")
            assert wire.put(b"p", b"x") == b"NOT_STORED"
            assert api.send("GET", "/readyz")[0] == ready
            health = api.get("/api/server")["health"]
            assert not health["ok"]
            assert health["reasons"]
            api.post(f"/api/server/{path}", on=False)
            assert json.loads(api.send("GET", "/readyz")[2]) == {"ok": True, "reasons": []}
        for fields in ({}, {"on": 1}, {"on": "yes"}):
            assert api.try_to("POST", "/api/server/readonly", fields)[0] == 400
        assert wire.put(b"p", b"x") == b"STORED"


def test_a_put_is_as_durable_as_any_other(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", reliable="sync") as server:
        Api(server.url).post("/api/queues/q/items", payload="kept")
        server.kill()
        server.start()
        with server.connect() as wire:
            assert wire.get(b"q") == [(b"q", 0, b"kept")]
