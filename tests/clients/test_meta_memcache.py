"""meta-memcache, which speaks nothing but the meta commands."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    MemcacheServerError,
    RequestFlags,
    ServerAddress,
    SetMode,
    Success,
    Value,
    connection_pool_factory_builder,
)

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess


def connect(*servers: ServerProcess, pool: int = 1) -> CacheClient:
    """A client with one connection to each server: get and delete have to use the same."""
    return CacheClient.cache_client_from_servers(
        [ServerAddress("127.0.0.1", server.port) for server in servers],
        connection_pool_factory_fn=connection_pool_factory_builder(max_pool_size=pool, recv_timeout=20),
    )


@pytest.fixture
def client(server: ServerProcess) -> CacheClient:
    """A client of one server."""
    return connect(server)


def test_set_get_delete(client: CacheClient, queue: str) -> None:
    assert client.set(queue, "first", ttl=3600)
    assert client.set(queue, "second", ttl=3600)
    assert client.get(queue) == "first"
    assert client.get(queue) is None
    assert client.delete(queue)
    assert not client.delete(queue)
    assert client.get(queue) == "second"
    assert client.delete(queue)


@pytest.mark.parametrize("value", ["grüße, 世界", b"\x00\xff\r\n", 42, True, {"a": [1, None]}, "ab" * 20000])
def test_values_and_flags(client: CacheClient, queue: str, value: object) -> None:
    assert client.set(queue, value, ttl=0)
    assert client.get(queue) == value
    assert client.delete(queue)


def test_unicode_key(client: CacheClient, queue: str) -> None:
    """It sends such keys in base64."""
    name = "schlüssel-" + queue
    assert client.set(name, "x", ttl=0)
    assert client.get(name + "/t=1000") == "x"
    assert client.delete(name)


def test_a_key_that_is_too_long(client: CacheClient, queue: str) -> None:
    """It sends a hash of such keys, in base64."""
    assert client.set(queue + "k" * 300, "x", ttl=0)
    assert client.get(queue + "k" * 300) == "x"


def test_multi_get(client: CacheClient, queue: str) -> None:
    for name in "ab":
        assert client.set(queue + name, name, ttl=0)
    keys = [Key(queue + name) for name in "abc"]
    assert client.multi_get(keys) == dict(zip(keys, ["a", "b", None], strict=True))


def test_waiting_get(server: ServerProcess, client: CacheClient, queue: str) -> None:
    with put_once_it_waits(server, queue, b"x"):
        assert client.get(f"{queue}/t=15000") == "x"
    assert client.delete(queue)


def test_touch(client: CacheClient, queue: str) -> None:
    assert not client.touch(queue, 100)
    client.set(queue, "x", ttl=0)
    assert not client.touch(queue, 100)  # nothing is reserved yet
    client.get(queue)
    assert client.touch(queue, 100)


def test_modes(client: CacheClient, queue: str) -> None:
    assert not client.set(queue, "x", ttl=0, set_mode=SetMode.REPLACE)
    assert client.set(queue, "draft", ttl=0, set_mode=SetMode.ADD)
    assert not client.set(queue, "again", ttl=0, set_mode=SetMode.ADD)
    assert client.set(queue, "final", ttl=0, set_mode=SetMode.REPLACE)
    assert client.set(queue, "last", ttl=0, set_mode=SetMode.APPEND)
    assert client.set(queue, "first", ttl=0, set_mode=SetMode.PREPEND)
    for expected in ("first", "final", "last"):
        assert client.get(queue) == expected
        assert client.delete(queue)


def test_counter(client: CacheClient, queue: str) -> None:
    assert not client.delta(queue, 1)
    assert client.delta_initialize_and_get(queue, 1, initial_value=40, initial_ttl=0) == 40
    assert client.delta_and_get(queue, 5) == 45
    assert client.delta_and_get(queue, -3) == 42


def test_noreply(client: CacheClient, queue: str) -> None:
    assert client.set(queue, "x", ttl=0, no_reply=True)
    assert client.get(queue) == "x"
    assert client.delete(queue, no_reply=True)
    assert client.get(queue) is None


def test_figures_of_an_item(client: CacheClient, queue: str) -> None:
    client.set(queue, "x", ttl=3600)
    flags = RequestFlags(return_value=True, return_fetched=True, return_ttl=True, return_size=True, no_update_lru=True)
    seen = client.meta_get(Key(queue), flags=flags)
    assert isinstance(seen, Value)
    assert seen.value == b"x" or seen.value == "x"
    assert (seen.flags.fetched, seen.flags.size) == (False, 1)
    assert 3590 < (seen.flags.ttl or 0) <= 3600
    assert client.get(queue) == "x"  # was only looked at


def test_its_tokens_have_32_bits(client: CacheClient, queue: str) -> None:
    """So the server's do not fit, it shows none, and takes none to acknowledge by."""
    client.set(queue, "x", ttl=0)
    _, token = client.get_cas(queue)
    assert token is None
    with pytest.raises(OverflowError):
        RequestFlags(cas_token=1 << 60)


def test_a_name_on_the_key_makes_a_pool_safe(server: ServerProcess, queue: str) -> None:
    one, two = connect(server), connect(server)
    one.set(queue, "x", ttl=0)
    assert one.get(f"{queue}/as=worker-7") == "x"
    assert not two.delete(queue)
    assert two.delete(f"{queue}/as=worker-7")


def test_give_back(client: CacheClient, queue: str) -> None:
    """``invalidate`` marks an item of a cache as stale, and gives one of a queue back."""
    client.set(queue, "x", ttl=0)
    assert client.get(queue) == "x"
    assert isinstance(client.meta_delete(Key(queue), flags=RequestFlags(mark_stale=True)), Success)
    assert client.get(queue) == "x"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, queue: client.get_or_lease(queue, LeasePolicy()),
        lambda client, queue: client.get("k" * 10 + "/peek/t=5"),
    ],
)
def test_what_means_nothing_on_a_queue_is_an_error(
    client: CacheClient, queue: str, ask: Callable[[CacheClient, str], object]
) -> None:
    """It takes a CLIENT_ERROR for a broken connection, and connects anew."""
    with pytest.raises(MemcacheServerError):
        ask(client, queue)
    assert client.set(queue, "x", ttl=0)
    assert client.get(queue) == "x"


def test_item_too_large(client: CacheClient, queue: str) -> None:
    with pytest.raises(MemcacheServerError):
        client.set(queue, random.Random(1).randbytes(70_000), ttl=0)
    assert client.set(queue, "small", ttl=0)
    assert client.get(queue) == "small"


def test_two_servers(server: ServerProcess, second_server: ServerProcess, queue: str) -> None:
    client = connect(server, second_server)
    names = [f"{queue}-{number}" for number in range(20)]
    for name in names:
        assert client.set(name, name, ttl=0)
    assert client.multi_get([Key(name) for name in names]) == {Key(name): name for name in names}
    for name in names:
        assert client.delete(name)
    for one in (server, second_server):
        with one.connect() as wire:
            assert int(wire.stats()["total_items"]) > 0
