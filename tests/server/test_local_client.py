"""Clients without a socket: their requests are in the same group commit as everybody's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from redqueue.engine.broker import Broker
from redqueue.engine.clock import Clock
from redqueue.engine.settings import QueueSettings
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovery
from redqueue.journal.worker import Worker
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.server.group_commit import GroupCommit
from redqueue.server.local_client import ClientClosed, LocalClient, LocalClients
from tests.protocol.conversation import FakeHost

Scenario = Callable[[LocalClients], Coroutine[None, None, None]]


@contextlib.asynccontextmanager
async def local_clients(directory: Path, *, sync: bool) -> AsyncIterator[LocalClients]:
    """All of a server but its sockets and timers, on the running loop and a journal in ``directory``."""
    loop = asyncio.get_running_loop()
    recovered = Recovery(directory, now=time.time_ns()).run()
    worker = Worker(loop.call_soon_threadsafe)
    journal = Log(directory, recovered, segment_size=1 << 20, sync=sync, wall_ns=time.time_ns, worker=worker)
    broker = Broker(QueueSettings(max_deliveries=1, prefetch=10), Clock(), journal)
    service = Service(broker, Requests(COMMANDS, 1 << 20), FakeHost(), CODECS)
    commit = GroupCommit(loop.call_soon, service, journal)
    yield LocalClients(service, commit)
    idle = asyncio.Event()
    commit.when_idle(idle.set)
    await idle.wait()
    journal.close()


@pytest.fixture(params=[False, True], ids=["reliable=yes", "reliable=sync"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario."""

    async def run(scenario: Scenario) -> None:
        async with local_clients(tmp_path, sync=request.param) as clients:
            await asyncio.wait_for(scenario(clients), 20)

    return lambda scenario: asyncio.run(run(scenario))


async def until(condition: Callable[[], object]) -> None:
    """Turn the loop until ``condition`` is true."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def is_waiting(client: LocalClient) -> Callable[[], bool]:
    """Whether it stands in a line."""
    return lambda: client.session.waiter is not None


def test_requests_are_answered_in_order_and_committed(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        async with clients.open() as client:
            answers = await asyncio.gather(
                client.request(b"set q 0 0 1\r\na\r\n"),
                client.request(b"get q\r\n"),
                client.request(b"delete q\r\n"),
                client.request(b"set q 0 0 1 noreply\r\nb\r\n"),
                client.request(b"set q 0 0 1\r\nc\r\nget q\r\nget nothing\r\n"),
            )
            assert answers == [
                b"STORED\r\n",
                b"VALUE q 0 1\r\na\r\nEND\r\n",
                b"DELETED\r\n",
                b"",
                b"STORED\r\nVALUE q 0 1\r\nb\r\nEND\r\nEND\r\n",
            ]
            assert clients.service.broker.committed >= 3
        assert len(clients) == 0

    play(scenario)


def test_an_answer_waits_for_the_frame_that_covers_it(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        broker = clients.service.broker
        async with clients.open() as client:
            asked = asyncio.ensure_future(client.request(b"set q 0 0 1\r\na\r\n"))
            await until(broker.has_changes)
            batch = broker.batch
            assert not asked.done()
            await asked
            assert broker.committed >= batch

    play(scenario)


def test_a_get_waits_for_what_another_client_puts(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        async with clients.open() as worker, clients.open() as boss:
            asked = asyncio.ensure_future(worker.request(b"get q/t=60000\r\n"))
            await until(is_waiting(worker))
            assert await boss.request(b"set q 0 0 1\r\na\r\n") == b"STORED\r\n"
            assert await asked == b"VALUE q/t=60000 0 1\r\na\r\nEND\r\n"

    play(scenario)


def test_a_cancelled_get_leaves_the_line_and_its_client_goes_on(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        async with clients.open() as worker, clients.open() as boss:
            asked = asyncio.ensure_future(worker.request(b"get q/t=60000\r\n"))
            await until(is_waiting(worker))
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert await boss.request(b"set q 0 0 1\r\na\r\n") == b"STORED\r\n"
            assert await worker.request(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"

    play(scenario)


def test_a_get_that_is_cancelled_before_it_waits_does_not_wait(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        async with clients.open() as worker:
            asked = asyncio.ensure_future(worker.request(b"set a 0 0 1\r\na\r\nget q/t=60000\r\n"))
            await until(clients.service.broker.has_changes)
            asked.cancel()
            assert await worker.request(b"get q\r\n") == b"END\r\n"

    play(scenario)


def test_what_a_cancelled_get_has_reserved_goes_back_and_nothing_else(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        queues = clients.service.broker.queues
        async with clients.open() as worker, clients.open() as boss:
            assert await worker.request(b"set p 0 0 1\r\na\r\nget p\r\n")
            asked = asyncio.ensure_future(worker.request(b"get q/t=60000\r\n"))
            await until(is_waiting(worker))
            stored = asyncio.ensure_future(boss.request(b"set q 0 0 1\r\nb\r\n"))
            await until(lambda: b"q" in queues and queues[b"q"].reserved)  # it is delivered, and not yet answered
            asked.cancel()
            await stored
            await until(lambda: not queues[b"q"].reserved)
            assert await boss.request(b"get q\r\n") == b"VALUE q 0 1\r\nb\r\nEND\r\n"
            assert await worker.request(b"delete p\r\n") == b"DELETED\r\n"

    play(scenario)


def test_closing_gives_back_and_counts_no_loss(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        worker = clients.open()
        assert await worker.request(b"set q 0 0 1\r\na\r\nget q\r\n")
        waits = asyncio.ensure_future(worker.request(b"get other/t=60000\r\n"))
        await until(is_waiting(worker))
        worker.close()
        with pytest.raises(ClientClosed):
            await waits
        with pytest.raises(ClientClosed):
            await worker.request(b"get q\r\n")
        async with clients.open() as other:  # with max_deliveries=1 a loss would have made it a dead letter
            assert await other.request(b"get q\r\n") == b"VALUE q 0 1\r\na\r\nEND\r\n"
        assert not clients.service.broker.queues[b"q"].dead_letters

    play(scenario)


def test_half_a_request_is_refused(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        for half in (b"get q", b"set q 0 0 5\r\nab\r\n", b"set q 0 0 1\r\na\r\nget q\r\nget "):
            client = clients.open()
            with pytest.raises(ValueError, match="not a whole request"):
                await client.request(half)
        assert len(clients) == 0

    play(scenario)


def test_quit_closes_the_client(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        client = clients.open()
        assert await client.request(b"set q 0 0 1\r\na\r\nquit\r\n") == b"STORED\r\n"
        with pytest.raises(ClientClosed):
            await client.request(b"get q\r\n")

    play(scenario)


def test_operators_verbs_are_for_those_who_may(play: Callable[[Scenario], None]) -> None:
    async def scenario(clients: LocalClients) -> None:
        async with clients.open() as operator, clients.open(is_local=False) as other:
            assert await operator.request(b"readonly on\r\n") == b"OK\r\n"
            assert (await other.request(b"readonly off\r\n")).startswith(b"CLIENT_ERROR ")

    play(scenario)


def test_at_the_end_of_the_server_who_waits_gets_a_miss_and_nobody_is_taken_any_more(
    play: Callable[[Scenario], None],
) -> None:
    async def scenario(clients: LocalClients) -> None:
        waiting, busy, idle = clients.open(), clients.open(), clients.open()
        waits = asyncio.ensure_future(waiting.request(b"get q/t=60000\r\n"))
        await until(is_waiting(waiting))
        stored = asyncio.ensure_future(busy.request(b"set jobs 0 0 1\r\na\r\nget q/t=60000\r\n"))
        late = asyncio.ensure_future(busy.request(b"set jobs 0 0 1\r\nb\r\n"))
        await until(clients.service.broker.has_changes)
        clients.end()
        assert await waits == b"END\r\n"
        assert await stored == b"STORED\r\nEND\r\n"
        with pytest.raises(ClientClosed):
            await late
        for client in (idle, clients.open()):
            with pytest.raises(ClientClosed):
                await client.request(b"get jobs\r\n")
        assert len(clients) == 0

    play(scenario)
