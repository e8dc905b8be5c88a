"""The client for asyncio against a real server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from redqueue.client import (
    AsyncClient,
    AsyncQueue,
    AuthenticationFailed,
    QueueEmpty,
    QueueFull,
    ReservationLost,
    ServerUnavailable,
)
from redqueue.testing import RunningServer, running_server
from tests.certificates import Certificates
from tests.documents import free_port
from tests.users_file import write_users

SOON = 20.0


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(max_items=3) as made:
        yield made


def run(server: RunningServer, work: Callable[[AsyncQueue], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with AsyncClient(server.address, **options) as client:
            await work(client.queue("jobs"))

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_block_acknowledges_or_gives_back(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        number = await jobs.put(b"a\r\nb", flags=7)
        with pytest.raises(ZeroDivisionError):
            async with await jobs.reserve():
                raise ZeroDivisionError
        async with await jobs.reserve(wait=0) as job:
            assert (job.body, job.flags, job.item_id, job.deliveries) == (b"a\r\nb", 7, number, 2)
        with pytest.raises(QueueEmpty):
            await jobs.reserve(wait=0)

    run(server, work)


def test_a_cancelled_block_gives_back(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        holds = asyncio.Event()

        async def hold() -> None:
            async with await jobs.reserve():
                holds.set()
                await asyncio.Event().wait()

        await jobs.put("a")
        task = asyncio.create_task(hold())
        await holds.wait()
        task.cancel()
        async with await jobs.reserve(SOON) as job:
            assert job.deliveries == 2

    run(server, work)


def test_a_cancelled_wait_takes_nothing(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(jobs.reserve(), 0.2)
        await jobs.put("a")
        assert (await jobs.reserve(SOON)).body == b"a"

    run(server, work)


def test_full_swap_and_lost(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        for body in "abc":
            await jobs.put(body)
        with pytest.raises(QueueFull):
            await jobs.put("d")
        job = await jobs.reserve(wait=0)
        await job.swap("upload", "A")
        with pytest.raises(ReservationLost):
            await job.acknowledge()
        job = await jobs.reserve(wait=0)
        await job.touch(-1)
        with pytest.raises(ReservationLost):
            await job.acknowledge()
        assert job.lost

    run(server, work)


def test_the_heartbeat_outlives_the_deadline(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        await jobs.put("a")
        async with await jobs.reserve(deadline=1) as job:
            with pytest.raises(QueueEmpty):
                await jobs.reserve(wait=2.5)
        assert not job.lost

    run(server, work)


def test_a_restart_in_mid_consume(server: RunningServer) -> None:
    async def work(jobs: AsyncQueue) -> None:
        seen = []
        await jobs.put("a")
        async for job in jobs.consume():
            seen.append(job.body)
            if len(seen) == 1:
                with pytest.raises(ReservationLost):
                    async with job:
                        await asyncio.to_thread(server.restart)
                continue
            async with job:
                pass
            if job.body == b"end":
                break
            waiting = asyncio.create_task(jobs.reserve())
            await asyncio.to_thread(server.restart)
            with pytest.raises(ServerUnavailable):
                await waiting
            await jobs.put("end")
        assert seen == [b"a", b"a", b"end"]

    run(server, work)


def test_a_tornado_coroutine_awaits_it(server: RunningServer) -> None:
    async def work() -> bytes:
        async with AsyncClient(server.address) as client:
            await client.queue("jobs").put("a")
            async with await client.queue("jobs").reserve() as job:
                return job.body

    assert IOLoop(make_current=False).run_sync(work) == b"a"


def test_names_passwords_and_tls(tmp_path: Path) -> None:
    users = write_users(tmp_path / "users", boss="secret admin=jobs")
    certificates = Certificates(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificates.ca))

    async def work(jobs: AsyncQueue) -> None:
        await jobs.put("a")
        async with await jobs.reserve() as job:
            assert job.body == b"a"

    async def fails(jobs: AsyncQueue) -> None:
        for _ in range(2):
            with pytest.raises(AuthenticationFailed):
                await jobs.put("a")

    async def distrusts(jobs: AsyncQueue) -> None:
        with pytest.raises(ServerUnavailable, match="certificate verify failed"):
            await jobs.put("a")

    with running_server(users=users, tls_cert=certificates.cert, tls_key=certificates.key) as server:
        run(server, work, user="boss", password="secret", tls_context=trusting)
        run(server, fails, user="boss", password="guess", tls_context=trusting)
        run(server, distrusts, user="boss", password="secret", tls_context=ssl.create_default_context())


def test_no_server() -> None:
    async def work() -> None:
        with pytest.raises(ServerUnavailable):
            await AsyncClient(("127.0.0.1", free_port())).queue("jobs").put("a")

    asyncio.run(work())
