"""/metrics: every figure in both formats, with a bound on the labels."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, Wire, wait_until
from tests.web.api import Api
from tests.web.scrape import OPENMETRICS, by, scrape


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_queue_has_its_metrics(api: Api, web_server: ServerProcess, wire: Wire, queue: str, accept: str) -> None:
    name = queue.encode()
    before = time.time()
    for body in (b"one", b"two", b"three", b"four", b"five"):
        wire.put(name, body)
    wire.put(name + b"/delay=500", b"later")
    wire.get(name)
    wire.ask(b"delete " + name)
    wire.get(name)
    wire.get(name + b"/abort")
    with web_server.connect() as other:
        other.get(name)
    wait_until(lambda: by(scrape(api), "redqueue_items_released_total", queue=queue, reason="disconnect"))
    wire.get(name)
    wire.ask(b"pause " + name)
    found = scrape(api, accept)
    assert {
        labels[-1][1]: value for labels, value in found["redqueue_queue_items"].items() if ("queue", queue) in labels
    } == {"ready": 2, "reserved": 1, "delayed": 1, "dead": 0}
    assert by(found, "redqueue_queue_items", queue=f"{queue}.dead", state="dead") == 1
    assert by(found, "redqueue_queue_items", queue=f"{queue}.dead", state="ready") == 0
    assert by(found, "redqueue_items_enqueued_total", queue=queue) == 6
    assert by(found, "redqueue_items_delivered_total", queue=queue) == 4
    assert by(found, "redqueue_items_acknowledged_total", queue=queue) == 1
    assert by(found, "redqueue_items_released_total", queue=queue, reason="client") == 1
    assert by(found, "redqueue_items_released_total", queue=queue, reason="timeout") == 0
    assert by(found, "redqueue_items_dead_lettered_total", queue=queue) == 1
    assert by(found, "redqueue_queue_bytes", queue=queue) == len("threefourfivelater")
    assert by(found, "redqueue_queue_paused", queue=queue) == 1
    assert before - 1 < by(found, "redqueue_queue_oldest_item_timestamp_seconds", queue=queue) < time.time() + 1


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_server_and_its_journal_have_metrics(api: Api, wire: Wire, accept: str) -> None:
    wire.put(b"some", b"x")
    wire.get(b"no-such-queue")
    found = scrape(api, accept)
    for name in ("redqueue_ready", "redqueue_writable"):
        assert by(found, name) == 1
    assert by(found, "redqueue_connections") >= 1
    assert by(found, "redqueue_commands_total", command="get", result="miss") >= 1
    assert by(found, "redqueue_commands_total", command="set", result="received") >= 1
    assert by(found, "redqueue_journal_live_items") >= 1
    assert by(found, "process_resident_memory_bytes") > 10 << 20
    assert time.time() - 3600 < by(found, "process_start_time_seconds") < time.time()
    (labels,) = found["redqueue_build_info"]
    assert dict(labels)["reliable"] == "yes"


def test_syncs_and_the_loops_lag_are_measured(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", reliable="sync") as server, server.connect() as wire:
        api = Api(server.url)
        for _ in range(5):
            wire.put(b"q", b"x")
        found = scrape(api)
        assert by(found, "redqueue_journal_fsync_duration_seconds_count") >= 5
        assert by(found, "redqueue_journal_fsync_duration_seconds_bucket", le="+Inf") == by(
            found, "redqueue_journal_fsync_duration_seconds_count"
        )
        assert by(found, "redqueue_journal_fsync_duration_seconds_sum") > 0
        wait_until(lambda: by(scrape(api), "redqueue_loop_lag_seconds_count"))


def test_labels_are_bounded_and_what_is_counted_stays_where_it_is(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", metrics_queues=2) as server, server.connect() as wire:
        api = Api(server.url)

        def enqueued() -> dict[str, float]:
            return {labels[0][1]: value for labels, value in scrape(api)["redqueue_items_enqueued_total"].items()}

        for name in (b"other", b"a", b"b", b"c", b"d\xff"):
            wire.put(name, b"x")
        assert enqueued() == {"a": 1, "b": 1, "other": 3}
        wire.put(b"c", b"x")
        wire.ask(b"drop a")
        wire.ask(b"drop c")
        assert enqueued() == {"b": 1, "other": 4}  # a queue that is gone is still counted
        wire.put(b"d\xff", b"x")
        wire.put(b"e\xff", b"x")
        wire.put(b"f", b"x")
        assert enqueued() == {"b": 1, "e%FF": 1, "other": 6}
        found = scrape(api)
        assert sum(found["redqueue_queue_items"].values()) == int(wire.stats()["curr_items"]) == 6
        assert by(found, "redqueue_queues") == 5


def test_a_queue_that_was_never_seen_is_counted_when_it_is_gone(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server, server.connect() as wire:
        api = Api(server.url)
        wire.put(b"brief", b"x")
        wire.ask(b"drop brief")
        assert by(scrape(api), "redqueue_items_enqueued_total", queue="other") == 1
        assert api.get("/api/server")["totals"]["put_total"] == 1


def test_a_server_that_takes_nothing_is_not_writable(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any", reliable="no") as server:
        api = Api(server.url)
        api.post("/api/server/readonly", on=True)
        found = scrape(api)
        assert (by(found, "redqueue_writable"), by(found, "redqueue_ready")) == (0, 1)
        assert "redqueue_journal_bytes" not in found
        api.post("/api/server/drain", on=True)
        assert by(scrape(api), "redqueue_ready") == 0


def test_thousands_of_queues_are_told_once_each(tmp_path: Path) -> None:
    with (
        ServerProcess(tmp_path / "log", http_port="any", reliable="no", metrics_queues=3000) as server,
        server.connect() as wire,
    ):
        wire.send(b"".join(b"set q%d 0 0 1 noreply\r\nx\r\n" % number for number in range(2500)) + b"mn\r\n")
        assert wire.line() == b"MN"
        for accept in ("", OPENMETRICS):
            assert len(scrape(Api(server.url), accept)["redqueue_queue_items"]) == 4 * 2501


def test_who_does_not_stay_for_the_answer_is_no_error(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", http_port="any") as server:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.http_port)) as visitor:
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                visitor.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert Api(server.url).get("/livez") == {"ok": True}
    assert "ERROR" not in server.log
