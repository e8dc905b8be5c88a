"""Losses, dead letters, delays, children and settings with real servers: what outlives kill -9, SIGTERM and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueue.server.connection import is_local
from tests.server_process import ServerProcess, Wire, wait_until

DURABLE = pytest.mark.parametrize("reliable", ["yes", "sync"])


def restart(server: ServerProcess) -> None:
    """kill -9, then start again."""
    server.kill()
    server.start()


def figure(wire: Wire, queue: bytes, name: str) -> str:
    return wire.stats(b"queue " + queue).get(name, "0")


def lose(server: ServerProcess, queue: bytes, body: bytes) -> None:
    """A worker takes the next item, which is ``body``, and its connection closes."""
    with server.connect() as watcher:
        before = int(figure(watcher, queue, "canceled_transactions"))
        with server.connect() as worker:
            assert [value[2] for value in worker.get(queue)] == [body]
        wait_until(lambda: int(figure(watcher, queue, "canceled_transactions")) == before + 1)


@DURABLE
def test_a_poison_item_is_out_of_the_way_after_five_workers_and_a_restart_forgets_none(
    tmp_path: Path, reliable: str
) -> None:
    config = tmp_path / "redqueue.toml"
    config.write_text('[queue."jobs"]\nmax_deliveries = 5\n')
    with ServerProcess(tmp_path / "log", reliable=reliable, config=config) as server:
        with server.connect() as wire:
            for body in (b"poison", b"one", b"two"):
                assert wire.put(b"jobs", body) == b"STORED"
        for death in range(5):
            lose(server, b"jobs", b"poison")
            if death % 2:
                restart(server)
        restart(server)
        with server.connect() as wire:
            for body in (b"one", b"two"):
                assert wire.get(b"jobs") == [(b"jobs", 0, body)]
                assert wire.ask(b"delete jobs") == b"DELETED"
            letter = wire.stats(b"queue jobs.dead")
            assert (letter["head_deliveries"], letter["head_origin"], letter["items"]) == ("5", "jobs", "1")
            assert wire.ask(b"redrive jobs.dead") == b"OK"
        restart(server)
        with server.connect() as wire:
            assert wire.get(b"jobs.dead") == []
            assert wire.get(b"jobs") == [(b"jobs", 0, b"poison")]


def test_those_behind_a_poison_item_are_not_held_up(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", max_deliveries=5, retry_delay="20ms") as server, server.connect() as boss:
        assert boss.put(b"jobs", b"poison") == b"STORED"
        for number in range(50):
            assert boss.put(b"jobs", b"%d" % number) == b"STORED"
        worker = server.connect()
        done: list[bytes] = []
        deaths = 0
        while len(done) < 50 or deaths < 5:
            body = worker.get(b"jobs/t=10000")[0][2]
            if body == b"poison":
                deaths += 1
                worker.close()
                worker = server.connect()
            else:
                done.append(body)
                assert worker.ask(b"delete jobs") == b"DELETED"
        worker.close()
        assert done == [b"%d" % number for number in range(50)]
        wait_until(lambda: [value[2] for value in boss.get(b"jobs.dead/peek")] == [b"poison"])


def test_what_a_letter_comes_from_is_known_when_all_older_segments_are_gone(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    with ServerProcess(logdir, max_deliveries=1, segment_size="64kb") as server:
        with server.connect() as wire:
            assert wire.put(b"jobs", b"letter") == b"STORED"

            def fill() -> None:
                for _ in range(100):
                    assert wire.put(b"fill", b"." * 1000) == b"STORED"
                    assert len(wire.get(b"fill")) == 1
                    assert wire.ask(b"delete fill") == b"DELETED"

            fill()
            lose(server, b"jobs", b"letter")
            first = min(logdir.glob("segment-*"))
            fill()
            wait_until(lambda: not first.exists(), what="the end of the first segment")
            assert figure(wire, b"jobs.dead", "head_origin") == "jobs"
        for _ in range(2):
            restart(server)
        with server.connect() as wire:
            assert figure(wire, b"jobs.dead", "head_origin") == "jobs"
            assert wire.ask(b"replace jobs.dead 0 0 7\r\nchanged") == b"STORED"
            second = min(logdir.glob("segment-*"))
            for _ in range(100):
                assert wire.put(b"fill", b"." * 1000) == b"STORED"
                assert len(wire.get(b"fill")) == 1
                assert wire.ask(b"delete fill") == b"DELETED"
            wait_until(lambda: not second.exists(), what="the end of the segment of the move")
        restart(server)
        with server.connect() as wire:
            assert figure(wire, b"jobs.dead", "head_origin") == "jobs"
            assert wire.ask(b"redrive jobs.dead") == b"OK"
            assert wire.get(b"jobs") == [(b"jobs", 0, b"changed")]


@DURABLE
def test_the_end_of_the_server_is_nobodys_loss(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable, max_deliveries=1) as server:
        for _ in range(2):
            with server.connect() as wire, server.connect() as worker:
                if not worker.get(b"jobs"):
                    assert wire.put(b"jobs", b"a") == b"STORED"
                    assert len(worker.get(b"jobs")) == 1
                assert server.stop() == 0
            server.start()
        with server.connect() as wire:
            assert wire.get(b"jobs") == [(b"jobs", 0, b"a")]


@DURABLE
def test_a_delay_outlives_kill_9(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable, retry_delay="1h") as server:
        with server.connect() as wire:
            for body in (b"a", b"b"):
                assert wire.put(b"jobs", body) == b"STORED"
            lose(server, b"jobs", b"a")
        restart(server)
        with server.connect() as wire:
            assert (figure(wire, b"jobs", "delayed"), figure(wire, b"jobs", "items")) == ("1", "2")
            assert wire.get(b"jobs") == [(b"jobs", 0, b"b")]


def test_a_delay_ends_by_itself(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log", retry_delay="50ms") as server, server.connect() as wire:
        assert wire.put(b"jobs", b"a") == b"STORED"
        with server.connect() as worker:
            assert len(worker.get(b"jobs")) == 1
        assert wire.get(b"jobs/t=10000") == [(b"jobs/t=10000", 0, b"a")]


@DURABLE
def test_children_outlive_kill_9_and_flush_all(tmp_path: Path, reliable: str) -> None:
    with ServerProcess(tmp_path / "log", reliable=reliable) as server:
        with server.connect() as wire:
            for child in (b"orders+audit", b"#+all"):
                assert wire.get(child) == []
        restart(server)
        with server.connect() as wire:
            assert wire.put(b"orders", b"lost") == b"STORED"
            assert wire.ask(b"flush_all") == b"OK"
        restart(server)
        with server.connect() as wire:
            assert "queue_\x00subscriptions_items" not in wire.stats()
            assert wire.put(b"orders", b"a") == b"STORED"
            assert wire.ask(b"drop #+all") == b"OK"
        restart(server)
        with server.connect() as wire:
            assert wire.put(b"orders", b"b") == b"STORED"
            assert [wire.get(b"orders+audit/peek=%d" % n)[0][2] for n in (0, 1)] == [b"a", b"b"]
            assert wire.get(b"#+all") == []


def test_salvage_keeps_letters_delays_places_and_children(tmp_path: Path) -> None:
    logdir = tmp_path / "log"
    options = {"max_deliveries": 2, "retry_delay": "1h", "requeue": "tail"}
    with ServerProcess(logdir, segment_size="64kb", **options) as server:
        with server.connect() as wire:
            assert wire.get(b"orders+audit") == []
            assert wire.put(b"jobs", b"delayed") == b"STORED"
            lose(server, b"jobs", b"delayed")
            for _ in range(100):
                assert wire.put(b"fill", b"." * 1000) == b"STORED"
        assert server.stop() == 0
    with ServerProcess(logdir, max_deliveries=1) as server:
        with server.connect() as wire:
            assert wire.put(b"mail", b"letter") == b"STORED"
            lose(server, b"mail", b"letter")
        assert server.stop() == 0
    first = min(logdir.glob("segment-*"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 0x40
    first.write_bytes(content)
    with ServerProcess(logdir, salvage="yes") as server:
        wait_until(lambda: not first.exists(), what="the end of the damaged segment")
        assert server.stop() == 0
    for _ in range(2):
        with ServerProcess(logdir) as server, server.connect() as wire:
            assert figure(wire, b"mail.dead", "head_origin") == "mail"
            assert figure(wire, b"jobs", "delayed") == "1"
            assert wire.put(b"orders", b"a") == b"STORED"
            assert wire.get(b"orders+audit") == [(b"orders+audit", 0, b"a")]
            assert wire.ask(b"delete orders+audit") == b"DELETED"


def test_operators_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with ServerProcess(tmp_path / "log", unix_socket=path) as server, server.connect() as tcp:
        assert tcp.put(b"q", b"a") == b"STORED"
        with Wire.unix(path) as wire:
            assert wire.ask(b"pause q") == b"OK"
        assert tcp.get(b"q") == []
        assert tcp.ask(b"resume q") == b"OK"
        assert len(tcp.get(b"q")) == 1


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("127.0.0.1", 5), True),
        (("127.8.8.8", 5), True),
        (("::1", 5, 0, 0), True),
        (("::ffff:127.0.0.1", 5, 0, 0), True),
        ("", True),
        (b"", True),
        (("10.0.0.1", 5), False),
        (("fe80::1%eth0", 5, 0, 2), False),
        (("::ffff:10.0.0.1", 5, 0, 0), False),
        (None, False),
    ],
)
def test_who_is_on_this_machine(peer: object, expected: bool) -> None:
    assert is_local(peer) is expected
