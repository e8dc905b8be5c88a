"""Depth and rates over time, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server_process import Wire, wait_until
from tests.web.api import Api

COLUMNS = {"time", "ready", "reserved", "delayed", "dead", "put_rate", "delivered_rate", "acknowledged_rate"}


def columns(found: dict[str, Any]) -> dict[str, list[float]]:
    return {name: value for name, value in found.items() if isinstance(value, list)}


def test_what_happens_is_seen_in_the_history(api: Api, wire: Wire, queue: str) -> None:
    name = queue.encode()
    for _ in range(9):
        wire.put(name, b"x")
    wire.get(name)
    path = f"/api/queues/{queue}/history"
    wait_until(lambda: (api.get(path)["ready"] or [0])[-1] == 8, what="the depth in the history")
    found = api.get(path)
    assert (found["range"], found["seconds"], found["step"], found["is_continued"]) == ("5m", 300, 1, False)
    assert set(columns(found)) == COLUMNS
    assert len({len(column) for column in columns(found).values()}) == 1
    assert found["reserved"][-1] == 1
    total = api.get("/api/history")
    assert set(columns(total)) == COLUMNS
    assert total["totals"]["queues"] >= 1
    since = total["time"][-1]
    wait_until(lambda: api.get(f"/api/history?since={since}")["time"], what="a new sample")
    newer = api.get(f"/api/history?since={since}")
    assert newer["is_continued"]
    assert all(time > since for time in newer["time"])


def test_rates_are_in_the_rows_and_sort_them(api: Api, wire: Wire, queue: str) -> None:
    def first() -> Any:
        wire.put(queue.encode(), b"x")
        return api.get(f"/api/queues?search={queue}&sort=put_rate&order=desc&limit=1")["queues"][0]

    wire.put(f"{queue}-idle".encode(), b"x")
    wait_until(lambda: first()["put_rate"] > 0, what="a rate")
    found = first()
    assert found["name"] == queue
    assert {"delivered_rate", "acknowledged_rate"} <= set(found)


@pytest.mark.parametrize("path", ["/api/history", "/api/queues/{queue}/history"])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("range=1y", "range takes one of 5m, 3h, 24h"),
        ("since=yesterday", "since takes a Unix time in seconds"),
        ("since=-1", "since takes a Unix time in seconds"),
        ("since=nan", "since takes a Unix time in seconds"),
        ("until=5", "unknown argument 'until'"),
    ],
)
def test_bad_arguments(api: Api, wire: Wire, queue: str, path: str, arguments: str, complaint: str) -> None:
    wire.put(queue.encode(), b"x")
    status, found = api.try_to("GET", f"{path.format(queue=queue)}?{arguments}", headers={})
    assert status == 400
    assert complaint in found["error"]


def test_what_was_never_there_has_no_history(api: Api) -> None:
    status, found = api.try_to("GET", "/api/queues/no-such-queue/history", headers={})
    assert status == 404
    assert "there is no such queue" in found["error"]
