"""``redqueue journal stat``: figures that add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from redqueue.journal import record as rec
from tests.cli.tool import FOREVER, Handmade, ack, fanout, flip, put, redqueue, rewrite


def stat(directory: Path, status: int = 0) -> tuple[dict[int, dict[str, Any]], dict[str, dict[str, Any]]]:
    done = redqueue("journal", "stat", directory, "--json")
    assert done.returncode == status, done.stderr
    found = json.loads(done.stdout)
    return {s["segment"]: s for s in found["segments"]}, {q["queue"]: q for q in found["queues"] if "queue" in q}


@pytest.fixture
def handmade(tmp_path: Path) -> Handmade:
    made = Handmade(tmp_path / "journal")
    made.frame(rec.name(1, b"jobs"), put(1, 1, b"a" * 10), put(1, 2, b"b" * 20), put(1, 3, b"c" * 30, expires=5))
    made.next_segment()
    made.frame(rec.name(2, b"jobs"), put(2, 4, b"d" * 40, expires=FOREVER), rewrite(2, 2, b"B" * 50), ack(1))
    made.raw(bytes(1000))
    return made


def test_segments(handmade: Handmade) -> None:
    segments, _ = stat(handmade.directory)
    first, second = segments[1], segments[2]
    assert (first["frames"], first["records"], first["live_records"], first["dead_records"]) == (1, 4, 0, 3)
    assert (first["bytes"], first["live_bytes"]) == (handmade.frames[0].end, 0)
    assert first["dead_bytes"] == handmade.frames[0].end
    assert (second["records"], second["live_records"], second["dead_records"]) == (4, 2, 0)
    assert second["live_bytes"] == 32 + 8 + 40 + 32 + 50
    assert second["free_bytes"] == 1000
    for segment in segments.values():
        assert segment["bytes"] == segment["live_bytes"] + segment["dead_bytes"] + segment["free_bytes"]


def test_queues(handmade: Handmade) -> None:
    """Both numbers of a name are one queue."""
    _, queues = stat(handmade.directory)
    jobs = queues["jobs"]
    assert (jobs["live_records"], jobs["dead_records"], jobs["expired"]) == (2, 3, 1)
    assert (jobs["live_bytes"], jobs["dead_bytes"]) == (32 + 8 + 40 + 32 + 50, 42 + 52 + 32 + 8 + 30)
    assert jobs["oldest"].startswith("2027-01-15T08:00:00")


def test_a_fanout_is_shared_out(tmp_path: Path) -> None:
    made = Handmade(tmp_path / "journal")
    record = fanout(1, 1, (1, 2, 3), b"x" * 11)
    made.frame(rec.name(1, b"a"), rec.name(2, b"b"), rec.name(3, b"c"), record)
    made.frame(ack(2))
    segments, queues = stat(made.directory)
    assert queues["a"]["live_bytes"] + queues["b"]["dead_bytes"] + queues["c"]["live_bytes"] == len(record)
    assert segments[1]["live_bytes"] == queues["a"]["live_bytes"] + queues["c"]["live_bytes"]


def test_what_a_server_wrote(life: Path) -> None:
    segments, queues = stat(life)
    assert {name: (q["live_records"], q["dead_records"]) for name, q in queues.items()} == {
        "café": (1, 0),
        "count": (1, 1),
        "gone": (0, 1),
        "jobs": (5, 1),
    }
    assert segments[1]["free_bytes"] == 0


def test_the_tables(life: Path) -> None:
    done = redqueue("journal", "stat", life)
    assert done.returncode == 0
    first, second = done.stdout.split("\n\n")
    heads = [table.splitlines()[0].split("  ") for table in (first, second)]
    assert [" ".join(word.strip() for word in head if word) for head in heads] == [
        "segment made records live dead bytes live bytes dead bytes free bytes",
        "queue live dead expired live bytes dead bytes oldest",
    ]
    assert [line.split()[:3] for line in second.splitlines()[1:]] == [
        ["café", "1", "0"],
        ["count", "1", "1"],
        ["gone", "0", "1"],
        ["jobs", "5", "1"],
        [r"odd\xff/name", "1", "0"],
    ]


def test_damage_is_told(handmade: Handmade) -> None:
    flip(handmade.path(1), handmade.frames[0].end - 1)
    done = redqueue("journal", "stat", handmade.directory)
    assert done.returncode == 1
    assert "segment-0000000001.rqj is damaged" in done.stderr
    stat(handmade.directory, status=1)
