"""``redqueue import`` from the journals of Kestrel, Starling and the RedQueue of 2010."""

from __future__ import annotations

import random
import time
from collections import deque
from pathlib import Path

import pytest

from redqueue.importers import kestrel, redqueue2010
from tests.cli import foreign_journals as fj
from tests.cli.foreign_journals import Text2010
from tests.cli.live import Live


def items_2010(text: Text2010, directory: Path) -> list[bytes]:
    text.write(directory / "old" / "q.log")
    (queue,) = redqueue2010.read(directory / "old")
    return [item.payload for item in queue.items]


def test_2010_by_command(live: Live, tmp_path: Path) -> None:
    old = tmp_path / "old"
    Text2010().put(b"a").put(b"b\r\nU 1\r\n").put(b"").take(1).use(1).take(2).give_back(2).write(
        old / "my+jobs%2F1.log"
    )
    Text2010().put(b"gone", 5).put(b"kept", int(time.time()) + 1000).write(old / "ttl.log")
    Text2010().put(b"never").write(old / "ttl.log.1264000000")
    assert live.json("import", f"redqueue2010:{old}", "--dry-run")["imported"] == 0
    assert live.contents(b"ttl") == []
    fields = live.json("import", f"redqueue2010:{old}")
    assert (fields["imported"], fields["expired"], fields["findings"]) == (3, 1, [])
    assert [item["payload"] for item in live.json_lines("peek", "my jobs/1", "-n", "9")] == ["", "b\r\nU 1\r\n"]
    (kept,) = live.json_lines("peek", "ttl", "-n", "9")
    assert kept["payload"] == "kept"
    assert 900 < kept["ttl"] <= 1000


def test_2010_restart_with_an_item_in_hand_loses_nothing(tmp_path: Path) -> None:
    """The server is killed, puts A back unwritten, and B and A are acknowledged: C is alive."""
    text = Text2010().put(b"A").put(b"B").take(1).put(b"C").take(2).use(2).take(3).use(3)
    assert b"C" in items_2010(text, tmp_path)


def test_2010_torn_at_every_byte(tmp_path: Path) -> None:
    whole = Text2010().put(b"hello").put(b"wo\r\nrld").take(1).data
    for cut in range(len(whole) + 1):
        text = Text2010()
        text.data = whole[:cut]
        assert items_2010(text, tmp_path) in ([], [b"hello"], [b"hello", b"wo\r\nrld"])
        text.put(b"after")  # the next start wrote on behind it
        assert items_2010(text, tmp_path)[-1] == b"after"


def test_2010_whatever_happened_nothing_is_lost(tmp_path: Path) -> None:
    """A made-up server that is killed at times writes the file; what it holds is among what is read."""
    for seed in range(400):
        alive, found = made_up_2010(seed, tmp_path)
        assert set(found) >= alive, seed
        assert len(found) == len(set(found)), seed


def made_up_2010(seed: int, tmp_path: Path) -> tuple[set[bytes], list[bytes]]:
    """What a server held at the end, and what is read from its file."""
    chance = random.Random(seed)
    returns = chance.random() < 0.5
    text, ready, lent = Text2010(), deque[bytes](), dict[int, bytes]()
    puts = clients = 0
    for _ in range(60):
        event = chance.random()
        if event < 0.4:
            ready.append(b"%d" % puts)
            text.put(b"%d" % puts)
            puts += 1
        elif event < 0.7 and ready:
            lent[clients] = ready.popleft()
            text.take(clients)
            clients += 1
        elif event < 0.92 and lent:
            client = chance.choice(sorted(lent))
            item = lent.pop(client)
            if returns and chance.random() < 0.3:
                ready.append(item)
                text.give_back(client)
            else:
                text.use(client)
        elif event > 0.96:  # kill -9, and start
            (ready.extend if seed % 2 else ready.extendleft)(lent.values())
            lent = {}
    return {*ready, *lent.values()}, items_2010(text, tmp_path)


def queues(directory: Path) -> dict[bytes, list[bytes]]:
    return {queue.name: [item.payload for item in queue.items] for queue in kestrel.read(directory)}


def test_kestrel_by_command(live: Live, tmp_path: Path) -> None:
    (tmp_path / "jobs").write_bytes(
        fj.add_xid(7, b"open") + fj.RESERVE + fj.save_xid(7) + fj.addx(b"done") + fj.addx(b"b") + fj.addx(b"again")
        + fj.RESERVE + fj.confirm(8) + fj.RESERVE + fj.unremove(9) + fj.addx(b"late", 5000) + fj.add(b"old", 0)
    )  # fmt: skip
    (tmp_path / "jobs~~123").write_bytes(b"nonsense")
    fields = live.json("import", f"kestrel:{tmp_path}")
    assert (fields["imported"], fields["expired"], fields["findings"]) == (4, 1, [])
    assert live.contents(b"jobs") == [b"open", b"b", b"again", b"old"]


def test_kestrel_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "cars.904").write_bytes(fj.addx(b"never") * 3)
    (tmp_path / "cars.950.pack").write_bytes(fj.addx(b"a") + fj.addx(b"b"))
    (tmp_path / "cars.1051").write_bytes(fj.REMOVE + fj.addx(b"c") + fj.state_dump(3, 0))
    (tmp_path / "cars").write_bytes(fj.RESERVE + fj.addx(b"d") + fj.RESERVE + fj.continue_(4, b"b2") + fj.confirm(5))
    assert queues(tmp_path) == {b"cars": [b"d", b"b2"]}


def test_kestrel_torn_at_every_byte(tmp_path: Path) -> None:
    whole = fj.addx(b"hello") + fj.RESERVE + fj.add(b"world") + fj.confirm(1)
    for cut in range(len(whole) + 1):
        (tmp_path / "q").write_bytes(whole[:cut])
        (queue,) = kestrel.read(tmp_path)
        payloads = [item.payload for item in queue.items]
        assert payloads in ([], [b"hello"], [b"hello", b"world"], [b"world"])
        ends = {0, 26, 27, 27 + 14, len(whole)}
        assert bool(queue.findings) == (cut not in ends), cut


def test_kestrel_fan_out(live: Live, tmp_path: Path) -> None:
    (tmp_path / "news").write_bytes(fj.addx(b"a") + fj.addx(b"b"))
    (tmp_path / "news+mail").write_bytes(fj.addx(b"b"))
    live.redqueue("import", f"kestrel:{tmp_path}")
    assert (live.contents(b"news"), live.contents(b"news+mail")) == ([b"a", b"b"], [b"b"])


def test_starling_with_a_torn_end(live: Live, tmp_path: Path) -> None:
    (tmp_path / "work").write_bytes(fj.add(b"a") + fj.add(b"b") + fj.REMOVE + fj.add(b"torn")[:-1])
    done = live.redqueue("import", f"starling:{tmp_path}", status=1)
    assert done.stdout == "1 item imported into work\n"
    assert "work ends in what is no operation: 12 bytes from byte 21 left out" in done.stderr
    assert live.contents(b"work") == [b"b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rabbit://h/q", "q"], "is no source"),
        (["kestrel:/nowhere"], "is no directory"),
        (["redis://h/0/list"], "the QUEUE to put into is missing"),
        (["redis://h/list", "q"], "names no list"),
        (["redis://u:p@h/0/list", "q"], "for all to see"),
        (["beanstalkd:///t", "q"], "wants a host"),
        (["beanstalkd://h/t", "q", "--from-left"], "for Redis"),
        (["beanstalkd://127.0.0.1:1/t", "q"], "cannot connect"),
    ],
)
def test_bad_command_lines(live: Live, arguments: list[str], message: str) -> None:
    assert message in live.redqueue("import", *arguments, status=2).stderr
