"""kill -9 of ``move`` and of ``take --exec``, against a ledger: nothing lost, nothing doubled but by a delivery."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from pathlib import Path

from tests.cli.live import Live
from tests.server_process import wait_until

ITEMS = 3000


def drain(live: Live, queue: bytes) -> list[int]:
    """Take everything out of a queue."""
    found = []
    with live.connect() as wire:
        while items := wire.get(queue):
            found.append(int(items[0][2]))
            assert wire.ask(b"delete " + queue) == b"DELETED"
    return found


def test_move_is_killed_again_and_again(live: Live) -> None:
    """Each item is in one of the two queues, once; what was moved keeps its order."""
    with live.connect() as wire:
        wire.send(b"".join(b"ms from %d q\r\n%d\r\n" % (len(str(i)), i) for i in range(ITEMS)) + b"mn\r\n")
        assert wire.line() == b"MN"
    chance = random.Random(7)
    killed = 0
    for round_number in range(6):
        before = live.figure(b"to", "items")
        process = live.start_command("move", "from", "to", stdout=subprocess.DEVNULL)
        least = before + chance.randrange(1, 300)
        wait_until(
            lambda least=least, process=process: live.figure(b"to", "items") >= least or process.poll() is not None
        )
        killed += process.poll() is None
        process.kill()
        process.communicate(timeout=20)
        wait_until(lambda: live.figure(b"from", "open_transactions") == 0)
        assert live.figure(b"from", "items") + live.figure(b"to", "items") == ITEMS, round_number
    assert killed >= 2
    moved, left = live.contents(b"to")[:5], live.figure(b"from", "items")
    assert moved == [b"0", b"1", b"2", b"3", b"4"]
    fields = live.json("move", "from", "to", status=None)
    assert fields["moved"] == left
    assert fields["left"] == 0
    assert sorted(drain(live, b"to")) == list(range(ITEMS))


def test_move_and_the_server_are_killed(tmp_path: Path) -> None:
    with Live(tmp_path / "journal") as server:
        with server.connect() as wire:
            wire.send(b"".join(b"ms from %d q\r\n%d\r\n" % (len(str(i)), i) for i in range(ITEMS)) + b"mn\r\n")
            assert wire.line() == b"MN"
        process = server.start_command("move", "from", "to", stdout=subprocess.DEVNULL)
        wait_until(lambda: server.figure(b"to", "items") > 100)
        server.kill()
        assert b"redqueue: " in process.communicate(timeout=20)[1]
        assert process.returncode == 2
        server.start()
        assert sorted(drain(server, b"from") + drain(server, b"to")) == list(range(ITEMS))


def test_workers_are_killed_again_and_again(live: Live, tmp_path: Path) -> None:
    """Each item is done; more than once only where a worker died in the middle."""
    items, kills, at_a_time = 120, 5, 3
    live.fill(b"jobs", *[b"%d" % i for i in range(items)])
    ledger = tmp_path / "ledger"
    ledger.touch()
    arguments = ("take", "jobs", f"-j{at_a_time}", f"--exec=read item || :; echo $item >>{ledger}")

    def done() -> list[str]:
        return ledger.read_text().split()

    for round_number in range(1, kills + 1):
        process = live.start_command(*arguments)
        wait_until(lambda n=round_number: len(done()) >= n * 12)
        process.kill()
        process.communicate(timeout=20)
    process = live.start_command(*arguments)
    wait_until(lambda: live.figure(b"jobs", "items") == 0)
    process.terminate()
    process.communicate(timeout=20)
    counts = Counter(map(int, done()))
    assert set(counts) == set(range(items))
    assert sum(counts.values()) - items <= kills * at_a_time
