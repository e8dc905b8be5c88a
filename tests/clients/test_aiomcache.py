"""aiomcache, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiomcache
import pytest

from tests.server_process import ServerProcess


def converse(server: ServerProcess, talk: Callable[[aiomcache.Client], Awaitable[None]]) -> None:
    """Run ``talk`` with a client of one connection: get and delete have to use the same."""

    async def run() -> None:
        client = aiomcache.Client("127.0.0.1", server.port, pool_size=1)
        try:
            await asyncio.wait_for(talk(client), 20)
        finally:
            await client.close()

    asyncio.run(run())


def test_set_get_delete(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        assert await client.set(name, "grüße".encode())
        assert await client.set(name, b"")
        assert await client.get(name) == "grüße".encode()
        assert await client.get(name) is None
        assert await client.delete(name) is True
        assert await client.delete(name) is False
        assert await client.get(name) == b""

    converse(server, talk)


def test_flags(server: ServerProcess, queue: str) -> None:
    async def run() -> None:
        async def with_flags(value: object) -> tuple[bytes, int]:
            return str(value).encode(), 77

        async def from_flags(value: bytes, flags: int) -> int:
            assert flags == 77
            return int(value)

        client = aiomcache.FlagClient(
            "127.0.0.1", server.port, pool_size=1, get_flag_handler=from_flags, set_flag_handler=with_flags
        )
        assert await client.set(queue.encode(), 12)
        assert await client.get(queue.encode()) == 12
        await client.close()

    asyncio.run(run())


def test_multi_get(server: ServerProcess, queue: str) -> None:
    a, b = queue.encode() + b"a", queue.encode() + b"b"

    async def talk(client: aiomcache.Client) -> None:
        await client.set(a, b"1")
        await client.set(b, b"2")
        assert await client.multi_get(a, queue.encode(), b) == (b"1", None, b"2")

    converse(server, talk)


def test_waiting_get(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        other = aiomcache.Client("127.0.0.1", server.port, pool_size=1)
        waiting = asyncio.ensure_future(client.get(name + b"/t=15000"))
        while (await other.stats(b"queue " + name)).get(b"waiters") != b"1":  # noqa: ASYNC110 - it asks the server
            await asyncio.sleep(0.005)
        assert await other.set(name, b"x")
        assert await waiting == b"x"
        assert await client.delete(name)
        await other.close()

    converse(server, talk)


def test_touch_swap_and_counter(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        assert await client.touch(name, 100) is False
        await client.set(name, b"job")
        value, token = await client.gets(name)
        assert value == b"job"
        assert token
        assert await client.touch(name, 100) is True
        assert await client.cas(name, b"next", token) is True
        assert await client.cas(name, b"again", token) is False
        assert await client.get(name) == b"next"
        await client.set(name + b"n", b"41")
        assert await client.incr(name + b"n") == 42
        assert await client.decr(name + b"n", 2) == 40
        await client.set(name + b"x", b"abc")
        with pytest.raises(aiomcache.ClientException, match="non-numeric"):
            await client.incr(name + b"x")

    converse(server, talk)


def test_add_replace_append_prepend(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        assert await client.replace(name, b"x") is False
        assert await client.add(name, b"draft") is True
        assert await client.add(name, b"again") is False
        assert await client.replace(name, b"final") is True
        assert await client.append(name, b"last") is True
        assert await client.prepend(name, b"first") is True
        for expected in (b"first", b"final", b"last"):
            assert await client.get(name) == expected
            assert await client.delete(name)

    converse(server, talk)


def test_errors_leave_the_connection_in_step(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        with pytest.raises(aiomcache.ClientException, match="too large"):
            await client.set(name, b"x" * 70000)
        assert await client.set(name, b"small")
        assert await client.get(name) == b"small"
        assert (await client.version()).count(b".") == 2

    converse(server, talk)


def test_a_pool_with_a_named_consumer(server: ServerProcess, queue: str) -> None:
    name = queue.encode()

    async def run() -> None:
        client = aiomcache.Client("127.0.0.1", server.port, pool_size=4)
        await asyncio.gather(*(client.set(name + b"%d" % number, b"x") for number in range(20)))
        named = [name + b"%d/as=worker-7" % number for number in range(20)]
        assert await asyncio.gather(*map(client.get, named)) == [b"x"] * 20
        assert await asyncio.gather(*map(client.delete, named)) == [True] * 20
        await client.close()

    asyncio.run(run())


def test_noreply_is_not_its_way(server: ServerProcess, queue: str) -> None:
    """It waits for every reply; a delayed item through it, then."""
    name = queue.encode()

    async def talk(client: aiomcache.Client) -> None:
        assert await client.set(name + b"/delay=0.2", b"x")
        assert await client.get(name) is None
        assert await client.get(name + b"/t=15000") == b"x"

    converse(server, talk)
