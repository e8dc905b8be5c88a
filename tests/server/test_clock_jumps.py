"""The wall clock jumps by an hour or a day, forward or back, while things are pending, with and without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueue.engine.clock import ManualClock
from tests.server_in_process import InProcessServer

HOUR, DAY = 3600, 86400
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY, -DAY])


@JUMPS
def test_reservations_and_waits_do_not_notice(tmp_path: Path, jump: int) -> None:
    server = InProcessServer(tmp_path)
    holder, other, waiter = server.connect(), server.connect(), server.connect()
    assert holder.put(b"q", b"x") == b"STORED\r\n"
    assert holder.put(b"timed", b"x") == b"STORED\r\n"
    assert holder.get(b"q") == b"x"
    assert holder.get(b"60 timed", b"gat") == b"x"
    waiter.send(b"get empty/t=100000\r\n")
    server.run()
    server.clock.jump_wall(jump)
    server.pass_time(59)
    assert other.get(b"timed") is None
    server.pass_time(1.5)
    assert other.get(b"timed") == b"x"
    server.pass_time(39)
    assert waiter.take() == b""
    server.pass_time(1)
    assert waiter.take() == b"END\r\n"
    server.pass_time(198)
    assert other.get(b"q") is None, "300 seconds are not over"
    server.pass_time(2)
    assert other.get(b"q") == b"x"


@JUMPS
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("memory", [0, 1])
def test_a_ttl_is_a_moment_of_the_wall_clock(tmp_path: Path, jump: int, restart: bool, memory: int) -> None:
    """No jump back expires anything; one forward expires what its moment has passed of, and nothing else."""
    clock = ManualClock()
    server = InProcessServer(tmp_path, clock=clock, memory=memory)
    client = server.connect()
    now = clock.wall // 10**9
    for i in range(50):
        assert client.put(b"short", b"short %d" % i, 600) == b"STORED\r\n"
        assert client.put(b"long", b"long %d" % i, 2 * DAY) == b"STORED\r\n"
        assert client.put(b"dated", b"dated %d" % i, now + 2 * DAY) == b"STORED\r\n"
        assert client.put(b"lasting", b"lasting %d" % i) == b"STORED\r\n"
    clock.jump_wall(jump)
    if restart:
        server.kill()
        server = InProcessServer(tmp_path, clock=clock, memory=memory)
    for _ in range(10):
        server.pass_time()
    client = server.connect()
    if jump < 0:
        assert server.broker.sum_items() == 200
    assert client.get(b"short/peek") == (b"short 0" if jump < 0 else None)
    for queue in (b"long", b"dated", b"lasting"):
        assert client.get(queue + b"/peek") == queue + b" 0"
    clock.jump_wall(-jump)
    for _ in range(10):
        server.pass_time()
    assert client.get(b"short/peek") == (b"short 0" if jump < 0 else None), "what has expired stays away"
    server.clock.advance(2 * DAY)
    for _ in range(10):
        server.fire()
    for queue in (b"short", b"long", b"dated"):
        assert client.get(queue) is None
    assert server.broker.sum_items() == 50
    server.kill()
    assert InProcessServer(tmp_path, clock=clock).recovered.live_items == 50


@JUMPS
def test_neither_ids_nor_tokens_come_again(tmp_path: Path, jump: int) -> None:
    clock = ManualClock()
    tokens: list[bytes] = []
    ids: list[int] = []
    for _ in range(3):
        server = InProcessServer(tmp_path, clock=clock)
        client = server.connect()
        for token in tokens:
            answer = client.ask(b"cas other 0 0 1 %s\r\nx\r\n" % token)
            assert answer in (b"NOT_FOUND\r\n", b"EXISTS\r\n")
        for i in range(20):
            assert client.put(b"q", b"%d" % i) == b"STORED\r\n"
            ids.append(server.broker.last_id)
            answer = server.connect().ask(b"gets q\r\n")
            new = answer.partition(b"\r\n")[0].split(b" ")[4]
            for token in tokens:
                assert token != new
            tokens.append(new)
        server.kill()
        clock.advance(5)
        clock.jump_wall(jump)
    assert ids == sorted(set(ids))


@JUMPS
def test_order_is_that_of_arrival(tmp_path: Path, jump: int) -> None:
    clock = ManualClock()
    server = InProcessServer(tmp_path, clock=clock)
    bodies = [b"%d" % i for i in range(30)]
    for i, body in enumerate(bodies):
        assert server.connect().put(b"q", body) == b"STORED\r\n"
        if i % 10 == 5:
            clock.jump_wall(jump)
            server.kill()
            server = InProcessServer(tmp_path, clock=clock)
    client = server.connect()
    for body in bodies:
        assert client.get(b"q") == body
        assert client.ask(b"delete q\r\n") == b"DELETED\r\n"
    assert client.get(b"q") is None


def test_a_long_replay_stretches_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    server = InProcessServer(tmp_path, clock=clock)
    client = server.connect()
    assert client.put(b"q", b"short", 60) == b"STORED\r\n"
    assert client.put(b"q", b"long", 600) == b"STORED\r\n"
    assert client.get(b"q") == b"short"
    server.kill()
    server = InProcessServer(tmp_path, clock=clock)
    assert server.recovered.live_items == 2
    clock.advance(100)  # which the replay has taken
    other = server.connect()
    assert other.get(b"q") == b"long"
    server.pass_time(299)
    assert server.connect().get(b"q") is None
    server.pass_time(2)
    assert server.connect().get(b"q") == b"long"
