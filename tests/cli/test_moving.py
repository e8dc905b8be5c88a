"""move, pause, resume, redrive, flush, drop, readonly and bench."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from redqueue.cli.bench import percentile
from tests.cli.live import Live, terminal
from tests.server_process import wait_until


def test_move(live: Live) -> None:
    live.redqueue("put", "from", "--flags=5", "a")
    live.redqueue("put", "from", "--ttl=40d", "b")
    live.fill(b"from", *[b"%d" % i for i in range(200)])
    live.fill(b"to", b"before")
    done = live.redqueue("move", "from", "to", "-n", "102")
    assert (done.stdout, done.stderr) == ("102 items moved from from to to, 100 left\n", "")
    assert live.contents(b"to") == [b"before", b"a", b"b", *[b"%d" % i for i in range(100)]]
    assert live.contents(b"from") == [b"%d" % i for i in range(100, 200)]
    rows = live.json_lines("peek", "to", "-n", "3")
    assert [row["flags"] for row in rows] == [0, 5, 0]
    assert 40 * 86400 - 100 < rows[2]["ttl"] <= 40 * 86400
    assert live.json("move", "from", "to")["moved"] == 100
    assert live.json("move", "from", "to", status=1)["moved"] == 0


def test_move_leaves_what_is_not_ready(live: Live) -> None:
    live.fill(b"from", b"a", b"b")
    with live.connect() as wire:
        wire.put(b"from/delay=100", b"later")
        wire.get(b"from")
        fields = live.json("move", "from", "to")
        assert (fields["moved"], fields["left"]) == (1, 2)
        assert wire.ask(b"delete from") == b"DELETED"


def test_move_to_where_copies_come_back_ends(live: Live) -> None:
    with live.connect() as wire:
        wire.get(b"parent+child")
        live.fill(b"parent", b"a", b"b")
    assert live.json("move", "parent+child", "parent")["moved"] == 2
    assert live.contents(b"parent+child") == [b"a", b"b"]


def test_move_to_the_same_queue(live: Live) -> None:
    assert "are the same queue" in live.redqueue("move", "a", "a", status=2).stderr


def test_move_that_is_interrupted(live: Live) -> None:
    live.fill(b"from", *[b"x" * 500_000 for _ in range(200)])
    process = live.start_command("move", "from", "to", stdout=subprocess.PIPE)
    wait_until(lambda: live.figure(b"to", "items") > 1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    match = re.match(rb"(\d+) items moved from from to to, (\d+) left", output)
    assert match, output
    if match[2] != b"0":
        assert (process.returncode, errors) == (1, b"redqueue: interrupted\n")
    assert (live.figure(b"to", "items"), live.figure(b"from", "items")) == (int(match[1]), int(match[2]))
    assert live.figure(b"from", "timed_out_transactions") == 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with Live(tmp_path_factory.mktemp("small") / "journal", max_items=100, max_deliveries=1) as server:
        yield server


def test_move_to_a_full_queue(small: Live) -> None:
    small.fill(b"from", *[b"%d" % i for i in range(60)])
    small.fill(b"to", *[b"x"] * 70)
    done = small.redqueue("move", "from", "to", status=1)
    assert done.stdout == "30 items moved from from to to, 30 left\n"
    assert done.stderr == "redqueue: to is full, or the server takes no items\n"
    assert small.contents(b"from") == [b"%d" % i for i in range(30, 60)]


def test_redrive(small: Live) -> None:
    small.empty()
    small.fill(b"jobs", b"a", b"b", b"c")
    with small.connect() as wire:
        wire.get(b"jobs/prefetch=3")
        wire.get(b"jobs")
        wire.get(b"jobs")
    wait_until(lambda: small.figure(b"jobs.dead", "items") == 3)
    assert small.redqueue("redrive", "jobs.dead", "-n", "1").stdout == "1 item of jobs.dead went back, 2 left\n"
    assert small.json("redrive", "jobs.dead") == {"queue": "jobs.dead", "done": True, "left": 0}
    assert small.json("redrive", "jobs.dead", status=1)["done"] is False
    assert small.contents(b"jobs") == [b"a", b"b", b"c"]


def test_pause_and_resume(live: Live) -> None:
    live.fill(b"jobs", b"a")
    assert live.redqueue("pause", "jobs").stdout == "jobs is paused\n"
    assert live.redqueue("take", "jobs", status=1).stdout == ""
    assert live.json("resume", "jobs") == {"queue": "jobs", "done": True}
    live.redqueue("pause", "jobs", "--for=1s")
    assert live.redqueue("take", "jobs", "--wait=20s").stdout == "a\n"
    assert live.redqueue("pause", "nobody", status=1).stdout == "nobody does not exist\n"
    assert "--for wants at least a second" in live.redqueue("pause", "jobs", "--for=10ms", status=2).stderr


def test_flush_and_drop(live: Live) -> None:
    live.fill(b"jobs", b"a")
    assert live.redqueue("flush", "jobs").stdout == "jobs is empty\n"
    assert live.figure(b"jobs", "total_flushes") == 1
    assert live.redqueue("drop", "jobs", "--yes").stdout == "jobs is gone\n"
    assert live.redqueue("drop", "jobs", "--yes", status=1).stdout == "jobs does not exist\n"


@pytest.mark.parametrize(("answer", "is_done"), [(b"y\n", True), (b"n\n", False), (b"\n", False), (b"\x04", False)])
def test_on_a_terminal_it_asks_first(live: Live, answer: bytes, is_done: bool) -> None:
    live.fill(b"jobs", b"a", b"b")
    with terminal(live, "flush", "jobs") as shown:
        shown.wait_for(r"flush jobs with 2 items\? \[y/N\] ")
        shown.press(answer)
        assert shown.end() == (0 if is_done else 1)
        assert ("jobs is empty" if is_done else "nothing was done") in shown.read()
    assert live.contents(b"jobs") == ([] if is_done else [b"a", b"b"])


def test_readonly(live: Live) -> None:
    assert live.redqueue("readonly", "on").stdout == "the server takes no items\n"
    live.redqueue("put", "jobs", "a", status=1)
    assert live.json("readonly", "off") == {"readonly": False}
    live.redqueue("put", "jobs", "a")


def test_bench_leaves_nothing(live: Live) -> None:
    fields = live.json("bench", "-n", "500", "-c", "4", "--size", "10")
    assert (fields["items"], fields["connections"], fields["size"]) == (500, 4, 10)
    for phase in ("put", "reserve", "acknowledge"):
        figures = fields[phase]
        assert figures["errors"] == 0
        assert figures["requests"] >= 500
        assert figures["per_second"] > 0
        assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    assert re.search(r"^acknowledge +50 +\d+ ", live.redqueue("bench", "-n", "50").stdout, re.MULTILINE)
    assert live.redqueue("queues", "redqueue-bench*", status=1).stdout == ""
    process = live.start_command("bench", "-n", "1000000", stdout=subprocess.PIPE)
    wait_until(lambda: live.json("stats")["curr_items"] > 0)
    process.send_signal(signal.SIGINT)
    assert b"per second" in process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert live.redqueue("queues", "redqueue-bench*", status=1).stdout == ""


def test_percentiles() -> None:
    assert percentile([], 50) == 0.0
    assert percentile([1.0], 99) == 1.0
    values = [float(i) for i in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 99, 100)] == [50.0, 99.0, 100.0]
