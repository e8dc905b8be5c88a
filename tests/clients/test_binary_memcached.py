"""python-binary-memcached, which speaks nothing but the binary protocol."""

from __future__ import annotations

from collections.abc import Iterator

import bmemcached
import pytest

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[bmemcached.Client]:
    """A client that waits long enough."""
    client = bmemcached.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
    yield client
    client.disconnect_all()


def test_set_get_delete(client: bmemcached.Client, queue: str) -> None:
    assert client.set(queue, "first")
    assert client.set(queue, "second")
    assert client.get(queue) == "first"
    assert client.get(queue) is None
    assert client.delete(queue)
    assert client.delete(queue)  # this library's True does not tell whether something was deleted
    assert client.get(queue) == "second"
    assert client.delete(queue)
    assert client.get(queue) is None


@pytest.mark.parametrize("value", ["grüße, 世界", b"\x00\xff\r\n", 42, {"a": [1, None]}, "", "ab" * 20000])
def test_values_and_flags(client: bmemcached.Client, queue: str, value: object) -> None:
    assert client.set(queue, value)
    assert client.get(queue) == value
    assert client.delete(queue)


def test_unicode_key(client: bmemcached.Client, queue: str) -> None:
    assert client.set("schlüssel-" + queue, "x")
    assert client.get("schlüssel-" + queue) == "x"


def test_multi(client: bmemcached.Client, queue: str) -> None:
    values = {queue + "a": "1", queue + "b": "2"}
    assert client.set_multi(values) == []
    assert client.get_multi([*values, queue + "c"]) == values
    assert client.delete_multi(list(values))
    assert client.get_multi(list(values)) == {}


def test_waiting_get(server: ServerProcess, client: bmemcached.Client, queue: str) -> None:
    with put_once_it_waits(server, queue, b"x"):
        assert client.get(f"{queue}/t=15000") in ("x", b"x")
    assert client.delete(queue)


def test_token(client: bmemcached.Client, server: ServerProcess, queue: str) -> None:
    client.set(queue, "job")
    value, token = client.gets(queue)
    assert (value, token > 0) == ("job", True)
    other = bmemcached.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
    other.delete(queue)
    assert client.cas("next-" + queue, "next", token)  # the other one's delete has not touched it
    assert not client.cas("next-" + queue, "again", token)
    value, token = client.gets("next-" + queue)
    assert value == "next"
    assert other.delete("next-" + queue, cas=token)
    assert client.get(f"next-{queue}/abort") is None
    assert client.get("next-" + queue) is None
    other.disconnect_all()


def test_counter(client: bmemcached.Client, queue: str) -> None:
    assert client.incr(queue, 1, default=40, time=0) == 40
    assert client.incr(queue, 5) == 45
    assert client.decr(queue, 3) == 42


def test_add_replace(client: bmemcached.Client, queue: str) -> None:
    assert not client.replace(queue, "x")
    assert client.add(queue, "draft")
    assert not client.add(queue, "again")
    assert client.replace(queue, "final")
    assert client.get(queue) == "final"


def test_options_on_the_key(client: bmemcached.Client, queue: str) -> None:
    client.set(queue, "x")
    assert client.get(f"{queue}/peek") == "x"
    assert client.get(f"{queue}/as=me") == "x"
    client.delete(queue)
    assert client.get(f"{queue}/as=me/abort") is None
    assert client.get(f"{queue}/open") == "x"
    assert client.get(f"{queue}/close") is None
    assert client.get(queue) is None


def test_a_password_is_not_asked_for(server: ServerProcess, queue: str) -> None:
    client = bmemcached.Client([f"127.0.0.1:{server.port}"], "user", "secret", socket_timeout=20)
    assert client.set(queue, "x")
    assert client.get(queue) == "x"
    client.disconnect_all()


def test_errors_leave_the_connection_in_step(client: bmemcached.Client, queue: str) -> None:
    with pytest.raises(bmemcached.exceptions.MemcachedException, match="Too large"):
        client.set(queue, bytes(range(256)) * 300, compress_level=0)
    with pytest.raises(bmemcached.exceptions.MemcachedException, match="key too long"):
        client.get("k" * 251)
    assert client.set(queue, "small")
    assert client.get(queue) == "small"


def test_stats_and_flush(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ServerProcess(tmp_path_factory.mktemp("log")) as server:
        client = bmemcached.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
        client.set("jobs", "x")
        (figures,) = client.stats().values()
        assert figures["curr_items"] in ("1", b"1")
        assert client.flush_all()
        assert client.get("jobs") is None
        client.disconnect_all()


def test_two_servers(server: ServerProcess, second_server: ServerProcess, queue: str) -> None:
    client = bmemcached.DistributedClient([f"127.0.0.1:{s.port}" for s in (server, second_server)], socket_timeout=20)
    names = [f"{queue}-{number}" for number in range(20)]
    for name in names:
        assert client.set(name, name)
    assert client.get_multi(names) == {name: name for name in names}
    for name in names:
        assert client.delete(name)
    for one in (server, second_server):
        with one.connect() as wire:
            assert int(wire.stats()["total_items"]) > 0
    client.disconnect_all()
