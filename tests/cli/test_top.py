"""``redqueue top`` on a terminal, and without one."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

from redqueue.cli.figures import QueueFigures
from redqueue.cli.top import SORT_KEYS, Row, Sampler, ordered
from tests.cli.live import Live, terminal, without_rich
from tests.cli.tool import environment
from tests.server_process import wait_until


def test_the_live_table(live: Live) -> None:
    live.fill(b"big", *[b"x"] * 5)
    live.fill(b"little", b"x" * 100)
    with terminal(live, "top", "--interval=200ms") as shown:
        text = shown.wait_for(r"big +5 .*little +1 .*1-2 of 2")
        assert re.search(r"RedQueue \S+, up .*, 6 items, 0 reserved", text)
        shown.press(b"n")
        shown.wait_for(r"big +5 .*little +1 ")
        shown.press(b"n")
        shown.wait_for(r"little +1 .*big +5 ")
        shown.press(b"b")
        shown.wait_for(r"little +1 .*100 B.*big +5 ")
        live.fill(b"new", *[b"y"] * 9)
        shown.wait_for(r"new +9 .*1-3 of 3")
        shown.press(b"q")
        assert shown.end() == 0
        assert "\x1b[?1049l" in shown.written  # the screen is as it was
        assert "\x1b[?25h" in shown.written  # the cursor is there
        assert shown.attributes() == shown.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_is_as_before_after_a_signal(live: Live, number: signal.Signals) -> None:
    with terminal(live, "top", "--interval=200ms") as shown:
        shown.wait_for("0 of 0")
        assert shown.attributes() != shown.before
        shown.process.send_signal(number)
        assert shown.end() == 128 + number
        assert "\x1b[?1049l" in shown.written
        assert shown.attributes() == shown.before


def test_more_queues_than_lines(live: Live) -> None:
    with live.connect() as wire:
        wire.send(b"".join(b"ms q%04d 1 q\r\nx\r\n" % i for i in range(3000)) + b"mn\r\n")
        assert wire.line() == b"MN"
    with terminal(live, "top", "--interval=5s", "--sort=name", size=(14, 100)) as shown:
        shown.wait_for(r"q0000 .*q0009 .*1-10 of 3000")
        shown.press(b"\x1b[6~")
        shown.wait_for(r"q0010 .*q0019 .*11-20 of 3000")
        shown.press(b"\x1b[B")
        shown.wait_for(r"q0011 .*12-21 of 3000|q0020 ")
        shown.press(b"G")
        shown.wait_for(r"q2999 ")
        shown.press(b"q")
        assert shown.end() == 0


def test_the_server_comes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    journal = tmp_path_factory.mktemp("top") / "journal"
    with Live(journal) as server, terminal(server, "top", "--interval=200ms") as shown:
        shown.wait_for("0 of 0")
        server.kill()
        shown.wait_for("trying again")
        with Live(journal, port=server.port) as again:
            again.fill(b"after", b"x")
            shown.wait_for(r"after +1 ")
            shown.press(b"q")
            assert shown.end() == 0


def test_once_and_for_programs(live: Live) -> None:
    live.fill(b"jobs", b"a")
    text = live.redqueue("top", "--once", "--interval=100ms", "j*").stdout
    assert re.match(r"RedQueue \S+, up .*\nqueue +ready .* in/s +out/s +dead\njobs +1 +0 ", text)
    process = live.start_command("top", "--json", "--interval=100ms", stdout=subprocess.PIPE)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["server"]["curr_items"] == 1
    assert first["queues"][0]["queue"] == "jobs"
    live.fill(b"jobs", *[b"x"] * 20)
    wait_until(lambda: json.loads(process.stdout.readline())["queues"][0]["put_per_second"] > 0)  # type: ignore[union-attr]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_without_a_terminal_or_rich(live: Live) -> None:
    assert "top wants a terminal" in live.redqueue("top", status=2).stderr
    with terminal(live) as shown:
        shown.end()
    from tests.cli.live import Terminal

    shown = Terminal(without_rich(("top",)), {**environment(), "REDQUEUE_SERVER": f"{live.host}:{live.port}"})
    assert shown.end() == 2
    assert "top needs the library rich" in shown.read()
    shown.close()
    assert "--interval wants at least" in live.redqueue("top", "--interval=1ms", status=2).stderr


def test_rates_and_order() -> None:
    sampler = Sampler([])
    assert sampler._rates(QueueFigures(b"q", put=10), 0.0) == (0.0, 0.0)
    sampler._before = {b"q": QueueFigures(b"q", put=10, delivered=8, returned=2)}
    assert sampler._rates(QueueFigures(b"q", put=30, delivered=18, returned=4), 2.0) == (10.0, 4.0)
    assert sampler._rates(QueueFigures(b"q", put=4, delivered=2), 2.0) == (2.0, 1.0)  # it was dropped meanwhile
    assert sampler._rates(QueueFigures(b"new", put=4), 2.0) == (2.0, 0.0)
    rows = [Row(QueueFigures(name, items=items), 0.0, 0.0) for name, items in ((b"b", 1), (b"a", 1), (b"c", 2))]
    assert [row.queue.name for row in ordered(rows, "ready", False)] == [b"c", b"a", b"b"]
    assert [row.queue.name for row in ordered(rows, "name", False)] == [b"a", b"b", b"c"]
    assert [row.queue.name for row in ordered(rows, "name", True)] == [b"c", b"b", b"a"]
    for name, _ in SORT_KEYS.values():
        assert len(ordered(rows, name, False)) == 3
