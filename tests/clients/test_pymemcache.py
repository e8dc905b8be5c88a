"""pymemcache: its client, its pool and its hashing client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from pymemcache import serde
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """A client that waits for the replies."""
    with closing(Client(("127.0.0.1", server.port), default_noreply=False, timeout=20)) as client:
        yield client


def test_set_get_delete(client: Client, queue: str) -> None:
    assert client.set(queue, b"first")
    assert client.set(queue, b"second")
    assert client.get(queue) == b"first"
    assert client.get(queue) is None
    assert client.delete(queue) is True
    assert client.delete(queue) is False
    assert client.get(queue) == b"second"
    assert client.delete(queue) is True


def test_default_noreply(server: ServerProcess, queue: str) -> None:
    """As this library comes: set and delete ask for no reply."""
    with closing(Client(("127.0.0.1", server.port), timeout=20)) as client:
        for i in range(10):
            client.set(queue, b"%d" % i)
        for i in range(10):
            assert client.get(queue) == b"%d" % i
            client.delete(queue)
        assert client.get(queue) is None


@pytest.mark.parametrize("value", ["grüße, 世界", 42, {"a": [1, None]}, b"\r\nEND\r\n", ""])
def test_values_and_flags(server: ServerProcess, queue: str, value: object) -> None:
    with closing(
        Client(("127.0.0.1", server.port), serde=serde.pickle_serde, default_noreply=False, timeout=20)
    ) as client:
        assert client.set(queue, value)
        assert client.get(queue) == value


def test_raw_flags(client: Client, queue: str) -> None:
    assert client.set(queue, b"x", flags=2**32 - 1)
    client.serde = _ShowFlags()
    assert client.get(queue) == (b"x", 2**32 - 1)


class _ShowFlags:
    def serialize(self, key: bytes, value: bytes) -> tuple[bytes, int]:
        """As it is."""
        return value, 0

    def deserialize(self, key: bytes, value: bytes, flags: int) -> tuple[bytes, int]:
        """With the flags."""
        return value, flags


def test_unicode_key(server: ServerProcess, queue: str) -> None:
    with closing(
        Client(("127.0.0.1", server.port), allow_unicode_keys=True, default_noreply=False, timeout=20)
    ) as client:
        assert client.set("schlüssel-" + queue, b"x")
        assert client.get("schlüssel-" + queue) == b"x"


def test_many(client: Client, queue: str) -> None:
    values = {queue + "a": b"1", queue + "b": b"2"}
    assert client.set_many(values) == []
    assert client.get_many([*values, queue + "c"]) == values
    assert client.delete_many(values)
    assert client.get_many(values) == {}


def test_waiting_get(server: ServerProcess, client: Client, queue: str) -> None:
    with put_once_it_waits(server, queue, b"x"):
        assert client.get(f"{queue}/t=15000") == b"x"
    assert client.delete(queue)


def test_touch(client: Client, queue: str) -> None:
    assert client.touch(queue, 100) is False
    client.set(queue, b"x")
    assert client.get(queue) == b"x"
    assert client.touch(queue, 100) is True
    assert client.delete(queue)


def test_swap(client: Client, queue: str) -> None:
    client.set(queue, b"job")
    value, token = client.gets(queue)
    assert value == b"job"
    assert int(token) > 0
    assert client.cas(queue, b"next", token) is True
    assert client.cas(queue, b"once more", token) is False  # EXISTS: that reservation has ended
    assert client.cas(queue, b"never", b"1") is None  # NOT_FOUND: no such token was given
    assert client.get(queue) == b"next"


def test_counter(client: Client, queue: str) -> None:
    assert client.incr(queue, 1) is None
    client.set(queue, b"41")
    assert client.incr(queue, 1) == 42
    assert client.decr(queue, 50) == 0
    client.set(queue + "text", b"abc")
    with pytest.raises(MemcacheClientError, match="non-numeric"):
        client.incr(queue + "text", 1)
    assert client.get(queue) == b"0"


def test_add_replace_append_prepend(client: Client, queue: str) -> None:
    assert client.replace(queue, b"x") is False
    assert client.add(queue, b"draft") is True
    assert client.add(queue, b"again") is False
    assert client.replace(queue, b"final") is True
    assert client.append(queue, b"last") is True
    assert client.prepend(queue, b"first") is True
    for expected in (b"first", b"final", b"last"):
        assert client.get(queue) == expected
        assert client.delete(queue)


def test_item_too_large(client: Client, queue: str) -> None:
    with pytest.raises(MemcacheServerError, match="object too large for cache"):
        client.set(queue, b"x" * 70000)
    assert client.set(queue, b"small")
    assert client.get(queue) == b"small"


def test_item_too_large_without_reply(client: Client, queue: str) -> None:
    client.set(queue, b"x" * 70000, noreply=True)
    assert client.set(queue, b"small")
    assert client.get(queue) == b"small"


def test_an_option_that_makes_no_sense_is_an_error(client: Client, queue: str) -> None:
    with pytest.raises(MemcacheClientError, match="/peek goes with no other"):
        client.get(queue + "/peek/t=5")
    assert client.set(queue, b"x")


def test_delayed(client: Client, queue: str) -> None:
    assert client.set(queue + "/delay=0.2", b"x")
    assert client.get(queue) is None
    assert client.get(queue + "/t=15000") == b"x"


def test_one_worker_for_many_queues(server: ServerProcess, client: Client, queue: str) -> None:
    """``get_many`` asks for all keys in one request, in their order."""
    client.set(queue + "low", b"l")
    client.set(queue + "high", b"h")
    keys = [f"{queue}high/or", f"{queue}middle/or", f"{queue}low/t=15000"]
    for name, key, body in (("high", keys[0], b"h"), ("low", keys[2], b"l")):
        assert client.get_many(keys) == {key: body}
        assert client.delete(queue + name)
    with put_once_it_waits(server, queue + "middle", b"m"):
        assert client.get_many(keys) == {keys[1]: b"m"}


def test_ttl(client: Client, queue: str) -> None:
    assert client.set(queue, b"gone", expire=-1)
    assert client.set(queue, b"kept", expire=1000)
    assert client.get(queue) == b"kept"


def test_stats_version_flush(client: Client, server: ServerProcess, queue: str) -> None:
    assert client.stats()[b"pid"] == server.process.pid
    assert client.version().count(b".") == 2
    assert client.cache_memlimit is not None
    client.set(queue, b"x")
    assert client.raw_command(f"flush {queue}") == b"OK"
    assert client.get(queue) is None


def test_quit(client: Client, queue: str) -> None:
    client.set(queue, b"x")
    assert client.get(queue) == b"x"
    client.quit()
    assert client.get(queue + "/t=15000") == b"x"  # on a new connection; the old one gave it back


def test_pool(server: ServerProcess, queue: str) -> None:
    """One thread after the other: get and delete find the same connection free."""
    client = PooledClient(("127.0.0.1", server.port), max_pool_size=4, default_noreply=False, timeout=20)
    for i in range(20):
        assert client.set(queue, b"%d" % i)
    for i in range(20):
        assert client.get(queue) == b"%d" % i
        assert client.delete(queue) is True
    assert client.get(queue) is None
    client.close()


def test_a_pool_with_a_named_consumer(server: ServerProcess, queue: str) -> None:
    """A get and a delete over different connections, which a pool may use at any time."""
    with closing(PooledClient(("127.0.0.1", server.port), default_noreply=False, timeout=20)) as pool:
        pool.set(queue, b"a")
        assert pool.get(f"{queue}/as=worker-7") == b"a"
        with pool.client_pool.get_and_release() as busy:  # so the pool needs another connection
            assert busy.delete(queue) is False
            assert pool.delete(f"{queue}/as=worker-7") is True


def test_hashing_client_over_two_servers(server: ServerProcess, second_server: ServerProcess, queue: str) -> None:
    servers = (server, second_server)
    client = HashClient([("127.0.0.1", s.port) for s in servers], default_noreply=False, timeout=20)
    names = [f"{queue}-{i}" for i in range(50)]
    for name in names:
        assert client.set(name, name.encode())
    held = []
    for s in servers:
        with s.connect() as wire:
            held.append(sum(wire.stats(b"queue " + name.encode()).get("items") == "1" for name in names))
    assert sum(held) == 50
    assert min(held) > 0
    assert client.get_many(names) == {name: name.encode() for name in names}
    for name in names:
        assert client.delete(name) is True
    assert client.get_many(names) == {}
    client.close()
