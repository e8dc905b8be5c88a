"""Looking at queues and items over HTTP."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until
from tests.web.api import Api


def payloads(api: Api, queue: str, **arguments: object) -> list[bytes]:
    """The payloads of its items."""
    query = "&".join(f"{name}={value}" for name, value in arguments.items())
    return [b64decode(item["payload_base64"]) for item in api.get(f"/api/queues/{queue}/items?{query}")["items"]]


def test_a_queue_has_its_figures(api: Api, wire: Wire, queue: str) -> None:
    name = queue.encode()
    for body in (b"one", b"two", b"three"):
        assert wire.put(name, body) == b"STORED"
    assert wire.put(name + b"/delay=600", b"later") == b"STORED"
    assert wire.get(name)
    assert wire.ask(b"delete " + name) == b"DELETED"
    assert wire.get(name)
    row = api.get(f"/api/queues/{queue}")
    expected = {
        "name": queue,
        "name_url": queue,
        "items": 3,
        "ready": 1,
        "reserved": 1,
        "delayed": 1,
        "dead": 0,
        "bytes": 13,
        "consumers": 1,
        "waiters": 0,
        "paused": False,
        "put_total": 4,
        "delivered_total": 2,
        "acknowledged_total": 1,
        "released_total": 0,
        "dead_letter": f"{queue}.dead",
        "children": [],
    }
    assert {field: row[field] for field in expected} == expected
    assert row["oldest_age"] >= 0
    assert row["settings"]["max_deliveries"] == 1


def test_deliveries_end_in_one_way_each(api: Api, web_server: ServerProcess, wire: Wire, queue: str) -> None:
    name = queue.encode()

    def ends() -> tuple[int, ...]:
        row = api.get(f"/api/queues/{queue}")
        names = ("acknowledged", "released", "disconnected", "timed_out", "dead_lettered", "delivered")
        return tuple(row[f"{each}_total"] for each in names)

    for number in range(5):
        wire.put(name, b"%d" % number)
    wire.get(name)
    wire.ask(b"delete " + name)
    wire.get(name)
    wire.get(name + b"/abort")
    with web_server.connect() as other:
        other.get(name)
    wait_until(lambda: ends()[4] == 1)
    wire.get(b"-1 " + name, b"gat")
    wait_until(lambda: ends()[3] == 1)
    wire.get(name)
    wire.ask(b"flush " + name)
    acknowledged, released, disconnected, timed_out, _, delivered = ends()
    assert (acknowledged, released, disconnected, timed_out) == (1, 1, 1, 1)
    assert delivered == 5  # the flushed one ended in none of these ways


def test_any_bytes_can_be_the_name_of_a_queue(api: Api, wire: Wire, queue: str) -> None:
    name = queue.encode() + b"/\xff%\xc3\xa4"
    assert wire.put(name, b"x") == b"STORED"
    (row,) = api.get(f"/api/queues?search={queue}")["queues"]
    assert (row["name"], row["name_url"]) == (f"{queue}/\\xff%ä", f"{queue}%2F%FF%25%C3%A4")
    assert api.get(f"/api/queues/{row['name_url']}")["items"] == 1
    assert payloads(api, row["name_url"]) == [b"x"]


def test_queues_are_searched_sorted_and_paged(api: Api, wire: Wire, queue: str) -> None:
    for number, (items, size) in enumerate([(3, 1), (1, 9), (2, 2), (2, 1)]):
        for _ in range(items):
            wire.put(b"%b-Q%d" % (queue.encode(), number), b"x" * size)

    def names(**arguments: object) -> list[str]:
        query = "&".join(f"{name}={value}" for name, value in arguments.items())
        found = api.get(f"/api/queues?search={queue}-q&{query}")
        assert found["total"] == 4
        return [row["name"].removeprefix(f"{queue}-") for row in found["queues"]]

    assert names() == ["Q0", "Q1", "Q2", "Q3"]
    assert names(order="desc") == ["Q3", "Q2", "Q1", "Q0"]
    assert names(sort="ready") == ["Q1", "Q2", "Q3", "Q0"]
    assert names(sort="ready", order="desc") == ["Q0", "Q2", "Q3", "Q1"]
    assert names(sort="bytes", order="desc", limit=2) == ["Q1", "Q2"]
    assert names(sort="bytes", order="desc", offset=2, limit=2) == ["Q0", "Q3"]
    assert names(offset=4) == names(offset=1000) == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("limit=0", "limit takes a whole number from 1 to 500"),
        ("limit=501", "limit takes"),
        ("offset=-1", "offset takes"),
        ("offset=x", "offset takes"),
        ("sort=size", "sort takes one of name,"),
        ("order=up", "order takes one of asc, desc"),
        ("sorted=name", "unknown argument 'sorted'; known are search,"),
        ("limit=1&limit=2", "limit is given 2 times"),
    ],
)
def test_a_bad_argument_is_named(api: Api, query: str, complaint: str) -> None:
    status, found = api.try_to("GET", f"/api/queues?{query}")
    assert status == 400
    assert found["error"].startswith(complaint)


def test_what_is_not_there_is_not_found(api: Api, queue: str) -> None:
    for path in (f"/api/queues/{queue}", f"/api/queues/{queue}/items", "/api/nothing", "/api/queues/a/b", "/api/"):
        status, found = api.try_to("GET", path)
        assert status == 404
        assert found["error"]


def test_items_are_shown_by_state(api: Api, web_server: ServerProcess, wire: Wire, queue: str) -> None:
    name = queue.encode()
    wire.send(b"set %b 7 600 5\r\nfirst\r\n" % name)
    assert wire.line() == b"STORED"
    wire.put(name, bytes(range(256)))
    wire.put(name + b"/delay=900", b"last")
    wire.put(name + b"/delay=600", b"second")
    with web_server.connect() as other:
        assert other.get(name)
        (item,) = api.get(f"/api/queues/{queue}/items?state=reserved")["items"]
        assert (b64decode(item["payload_base64"]), item["flags"], item["deliveries"]) == (b"first", 7, 1)
        assert 500 < item["ttl"] <= 600
        assert 200 < item["ends_in"] <= 300
        assert payloads(api, queue, state="ready") == [bytes(range(256))]
        other.get(name + b"/abort")
    assert payloads(api, queue) == [b"first", bytes(range(256))]
    assert payloads(api, queue, offset=1, limit=1) == [bytes(range(256))]
    assert api.get(f"/api/queues/{queue}/items")["items"][0]["deliveries"] == 1
    assert payloads(api, queue, state="delayed") == [b"second", b"last"]
    assert api.get(f"/api/queues/{queue}/items?state=delayed")["items"][1]["due_in"] > 800
    (_, long) = api.get(f"/api/queues/{queue}/items?payload_limit=10")["items"]
    assert (long["size"], long["truncated"], b64decode(long["payload_base64"])) == (256, True, bytes(range(10)))


def test_dead_letters_say_where_they_came_from(api: Api, web_server: ServerProcess, queue: str) -> None:
    name = queue.encode()
    with web_server.connect() as other:
        other.put(name, b"poison")
        other.get(name)
    wait_until(lambda: api.get(f"/api/queues/{queue}.dead"))
    row = api.get(f"/api/queues/{queue}.dead")
    assert (row["takes_dead_letters"], row["ready"], row["dead"]) == (True, 1, 0)
    assert api.post(f"/api/queues/{queue}/items", payload="alive")["id"]
    assert api.get(f"/api/queues/{queue}")["dead"] == 1
    (letter,) = api.get(f"/api/queues/{queue}/items?state=dead")["items"]
    assert (letter["origin"], letter["origin_url"], letter["losses"]) == (queue, queue, 1)


def test_items_that_are_not_in_memory_are_read_from_the_journal(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", memory="64kb") as server, server.connect() as wire:
        api = Api(server.url)
        for number in range(400):
            wire.put(b"q", b"%03d" % number + b"x" * 1000)
            wire.put(b"q/delay=%d" % (1000 + number), b"%03d" % number + b"y" * 1000)
        row = api.get("/api/queues/q")
        assert row["memory_items"] < 300
        assert [payload[:4] for payload in payloads(api, "q", offset=350, limit=3)] == [b"350x", b"351x", b"352x"]
        found = payloads(api, "q", state="delayed", offset=200, limit=100)
        assert [payload[:4] for payload in found] == [b"%03dy" % number for number in range(200, 300)]
        server.stop()
        server.start()
        api = Api(server.url)
        assert [payload[:4] for payload in payloads(api, "q", offset=350, limit=3)] == [b"350x", b"351x", b"352x"]
        assert payloads(api, "q", state="delayed", offset=399)[0][:4] == b"399y"


def test_the_server_its_connections_and_its_journal(api: Api, web_server: ServerProcess, wire: Wire) -> None:
    assert wire.put(b"some", b"x") == b"STORED"
    found, stats = api.get("/api/server"), wire.stats()
    assert found["pid"] == web_server.process.pid == int(stats["pid"])
    assert found["health"] == {"ok": True, "reasons": []}
    assert (found["may_change"], found["user"]) == (True, None)
    assert {name for name in stats if not name.startswith("queue_")} == set(found["stats"])
    assert found["rss_bytes"] > 10 << 20
    assert found["cpu_seconds"] > 0
    connections = api.get("/api/connections")
    host, port = wire.socket.getsockname()
    assert f"{host}:{port}" in [row["address"] for row in connections["connections"]]
    assert connections["total"] == len(connections["connections"])
    journal = api.get("/api/journal")
    assert journal["segments"][-1]["state"] == "current"
    assert journal["live_items"] == sum(row["live_items"] for row in journal["segments"])
    assert (journal["segments"][-1]["file"], journal["total"]) == ("segment-0000000001.rqj", 1)


def test_a_server_that_keeps_nothing_has_no_journal(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", reliable="no") as server:
        api = Api(server.url)
        assert api.get("/api/journal")["journal"] is False
        assert api.post("/api/queues/q/items", payload="x")
        assert payloads(api, "q") == [b"x"]
