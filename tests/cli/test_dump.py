"""``redqueue journal dump``."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from tests.cli.tool import FOREVER, NOW, Handmade, ack, contents, fanout, flip, put, redqueue, rewrite

SECOND = 10**9


def lines(directory: Path, *arguments: str, status: int = 0) -> list[str]:
    done = redqueue("journal", "dump", directory, *arguments)
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines()


def objects(directory: Path, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(directory, "--json", *arguments, status=status)]


def ids(directory: Path, *arguments: str) -> list[tuple[str, int]]:
    return [(entry["kind"], entry.get("id", entry.get("below", 0))) for entry in objects(directory, *arguments)]


@pytest.fixture
def handmade(tmp_path: Path) -> Handmade:
    """A record of each kind, one a frame, a minute apart."""
    made = Handmade(tmp_path / "journal")
    records = [
        rec.name(1, b"jobs"),
        put(1, 1, b"x" * 100, flags=3, expires=FOREVER, place=-4),
        put(1, 2, b"two"),
        rewrite(1, 2, b"TWO"),
        ack(1),
        rec.name(2, b"audit"),
        fanout(1, 3, (1, 2), b"both"),
        ack(4),
        rec.drop(1, 5),
        put(2, 5, b"five"),
        rec.wipe(6),
        ack(99),
    ]
    for i, record in enumerate(records):
        made.frame(record, time=NOW + i * 60 * SECOND)
    return made


def test_text(life: Path) -> None:
    found = [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", "TIME", line) for line in lines(life)]
    places = [line.split(" ")[0] for line in found]
    assert places[:3] == ["1:80", "1:92", "1:162"]
    assert [line.split(" ", 1)[1] for line in found] == [
        "TIME NAME number=1 queue=jobs",
        "TIME PUT id=1 queue=jobs flags=0 size=6 payload=item 0",
        "TIME PUT id=2 queue=jobs flags=1 size=6 payload=item 1",
        "TIME PUT id=3 queue=jobs flags=2 size=6 payload=item 2",
        "TIME PUT id=4 queue=jobs flags=3 size=6 payload=item 3",
        "TIME PUT id=5 queue=jobs flags=4 size=6 payload=item 4",
        "TIME PUT id=6 queue=jobs flags=0 expires=TIME place=-1 size=5 payload=first",
        "TIME NAME number=2 queue=count",
        "TIME PUT id=7 queue=count flags=0 size=2 payload=41",
        "TIME REWRITE id=7 queue=count flags=0 size=2 payload=42",
        "TIME ACK id=6 queue=jobs",
        "TIME NAME number=3 queue=gone",
        "TIME PUT id=8 queue=gone flags=0 size=7 payload=flushed",
        "TIME DROP below=9 queue=gone",
        "TIME NAME number=4 queue=café",
        r"TIME PUT id=9 queue=café flags=0 size=9 payload=\x00\x1b[2J\xff\x0d\x0a\\",
        r"TIME NAME number=5 queue=odd\xff/name",
        r"TIME PUT id=10 queue=odd\xff/name flags=0 size=19 payload=crème brûlée ☕",
    ]


def test_json_is_binary_safe(life: Path) -> None:
    found = objects(life)
    puts = {entry["id"]: entry for entry in found if entry["kind"] == "PUT"}
    assert base64.b64decode(puts[9]["payload_base64"]) == b"\x00\x1b[2J\xff\r\n\\"
    assert "payload" not in puts[9]
    assert puts[9]["queue"] == "café"
    assert base64.b64decode(puts[10]["queue_base64"]) == b"odd\xff/name"
    assert puts[10]["payload"] == "crème brûlée ☕"
    assert all(line.isascii() for line in lines(life, "--json"))
    assert puts[6]["place"] == -1
    assert puts[6]["expires"] > puts[6]["time"]
    assert (puts[1]["segment"], puts[1]["frame"], puts[1]["offset"]) == (1, 48, 92)


def test_long_payloads_are_cut_in_text_only(handmade: Handmade) -> None:
    assert lines(handmade.directory, "--id=1")[0].endswith(f"size=100 payload={'x' * 64}...")
    assert lines(handmade.directory, "--id=1", "--full")[0].endswith(f"size=100 payload={'x' * 100}")
    assert objects(handmade.directory, "--id=1")[0]["payload"] == "x" * 100


def test_by_queue(handmade: Handmade) -> None:
    """Acknowledgements are of a queue because their items are; what hits all queues hits this one."""
    assert ids(handmade.directory, "--queue=jobs") == [
        ("NAME", 0),
        ("PUT", 1),
        ("PUT", 2),
        ("REWRITE", 2),
        ("ACK", 1),
        ("FANOUT", 3),
        ("DROP", 5),
        ("WIPE", 6),
    ]
    assert ids(handmade.directory, "--queue=audit") == [("NAME", 0), ("FANOUT", 3), ("ACK", 4), ("PUT", 5), ("WIPE", 6)]
    assert ids(handmade.directory, "--queue=nobody") == [("WIPE", 6)]


def test_by_the_name_as_it_is_printed(life: Path) -> None:
    assert [entry["kind"] for entry in objects(life, r"--queue=odd\xff/name")] == ["NAME", "PUT"]
    assert [entry["kind"] for entry in objects(life, "--queue=café")] == ["NAME", "PUT"]


def test_by_id(handmade: Handmade) -> None:
    """All that befell it: the flushes that cost it too, but not those of other queues."""
    assert ids(handmade.directory, "--id=2") == [("PUT", 2), ("REWRITE", 2), ("DROP", 5), ("WIPE", 6)]
    assert ids(handmade.directory, "--id=4") == [("FANOUT", 3), ("ACK", 4), ("WIPE", 6)]
    assert ids(handmade.directory, "--id=3") == [("FANOUT", 3), ("DROP", 5), ("WIPE", 6)]
    assert ids(handmade.directory, "--id=5") == [("PUT", 5), ("WIPE", 6)]
    assert ids(handmade.directory, "--id=4-5", "--kind=ack,put") == [("ACK", 4), ("PUT", 5)]
    assert ids(handmade.directory, "--id=6-") == [("ACK", 99)]


def test_by_kind(handmade: Handmade) -> None:
    assert ids(handmade.directory, "--kind=Drop,WIPE") == [("DROP", 5), ("WIPE", 6)]
    assert ids(handmade.directory, "--id=2", "--kind=DROP") == [("DROP", 5)]


def test_by_time(handmade: Handmade) -> None:
    written = [entry["written"] for entry in objects(handmade.directory)]
    assert ids(handmade.directory, f"--since={written[3]}", f"--until={written[5]}") == [("REWRITE", 2), ("ACK", 1)]
    seconds = NOW // SECOND
    assert ids(handmade.directory, f"--since=@{seconds + 180}", f"--until=@{seconds + 240}.5") == [
        ("REWRITE", 2),
        ("ACK", 1),
    ]
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds + 600))
    assert ids(handmade.directory, f"--since={local}") == [("WIPE", 6), ("ACK", 99)]


def test_ages(life: Path) -> None:
    assert len(objects(life, "--since=1h")) == len(objects(life))
    assert objects(life, "--until=1h") == []


def test_a_fanout(handmade: Handmade) -> None:
    (entry,) = objects(handmade.directory, "--kind=FANOUT")
    assert entry["queues"] == [{"queue": "jobs"}, {"queue": "audit"}]
    (line,) = lines(handmade.directory, "--kind=FANOUT")
    assert line.endswith(
        "FANOUT id=3 queues=jobs,audit flags=5 arrived=2027-01-15T08:00:00.000000000Z size=4 payload=both"
    )


def test_an_acknowledgement_of_an_unknown_item(handmade: Handmade) -> None:
    assert lines(handmade.directory, "--id=99")[0].endswith("ACK id=99 queue=?")
    assert objects(handmade.directory, "--id=99")[0]["queue"] is None


def test_damage_has_a_line_in_its_place(handmade: Handmade) -> None:
    handmade.next_segment()
    handmade.frame(rec.name(1, b"jobs"), put(1, 6, b"behind"))
    frame = handmade.frames[2]
    flip(handmade.path(1), frame.end - 1)
    found = lines(handmade.directory, status=1)
    assert found[2] == f"! segment-0000000001.rqj is damaged from offset {frame.offset} to {frame.end}"
    assert found[3].endswith("payload=TWO")
    entry = objects(handmade.directory, status=1)[2]
    assert (entry["finding"], entry["damage"], entry["offset"], entry["end"]) == (
        "damage",
        True,
        frame.offset,
        frame.end,
    )


def test_nothing_is_changed(life: Path) -> None:
    path = seg.list_segments(life)[-1][1]
    path.write_bytes(path.read_bytes()[:-3])
    before = contents(life)
    lines(life)
    assert contents(life) == before


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("--id=x", "such as 17"),
        ("--kind=PUTS", "PUT, ACK, NAME"),
        ("--since=yesterday", "2026-01-31T09:30:00Z"),
        ("--queue=a\\b", "doubled"),
    ],
)
def test_a_bad_option_says_what_to_write(life: Path, argument: str, remedy: str) -> None:
    done = redqueue("journal", "dump", life, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert remedy in done.stderr
