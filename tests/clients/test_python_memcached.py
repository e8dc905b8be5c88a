"""python-memcached, the library of the README."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import memcache
import pytest

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess


@pytest.fixture
def client(server: ServerProcess) -> Iterator[memcache.Client]:
    """A client that shows its errors."""
    client = memcache.Client([f"127.0.0.1:{server.port}"], socket_timeout=20, cache_cas=True, server_max_value_length=0)
    yield client
    client.disconnect_all()


def test_set_get_delete(client: memcache.Client, queue: str) -> None:
    assert client.set(queue, "first")
    assert client.set(queue, "second")
    assert client.get(queue) == "first"
    assert client.get(queue) is None
    assert client.delete(queue) == 1
    assert client.get(queue) == "second"
    assert client.delete(queue) == 1
    assert client.get(queue) is None


@pytest.mark.parametrize("value", ["grüße, 世界", b"\x00\xff\r\n", 42, True, 2**70, ["a", {"b": 1}], "", "x" * 60000])
def test_values_come_back_as_they_were(client: memcache.Client, queue: str, value: object) -> None:
    assert client.set(queue, value)
    assert client.get(queue) == value
    assert client.delete(queue)


def test_compressed_values(client: memcache.Client, queue: str) -> None:
    assert client.set(queue, "ab" * 50000, min_compress_len=100)
    assert client.get(queue) == "ab" * 50000


def test_unicode_key(client: memcache.Client, queue: str) -> None:
    assert client.set("schlüssel-" + queue, "x")
    assert client.get("schlüssel-" + queue) == "x"


def test_get_multi(client: memcache.Client, queue: str) -> None:
    assert client.set_multi({"a": 1, "b": 2}, key_prefix=queue) == []
    assert client.get_multi(["a", "b", "c"], key_prefix=queue) == {"a": 1, "b": 2}
    assert client.delete_multi(["a", "b"], key_prefix=queue) == 1
    assert client.get_multi(["a", "b", "c"], key_prefix=queue) == {}


def test_waiting_get(server: ServerProcess, client: memcache.Client, queue: str) -> None:
    with put_once_it_waits(server, queue, b"x"):
        assert client.get(f"{queue}/t=15000") == b"x"
    assert client.delete(queue)


def test_options_on_the_key(client: memcache.Client, queue: str) -> None:
    client.set(queue, "x")
    assert client.get(f"{queue}/peek") == "x"
    assert client.get(queue) == "x"
    assert client.get(f"{queue}/abort") is None
    assert client.get(f"{queue}/open") == "x"
    assert client.get(f"{queue}/close") is None
    assert client.get(queue) is None


def test_touch(client: memcache.Client, queue: str) -> None:
    assert not client.touch(queue, 100)
    client.set(queue, "x")
    assert not client.touch(queue, 100)  # nothing is reserved yet
    client.get(queue)
    assert client.touch(queue, 100)


def test_swap(client: memcache.Client, queue: str) -> None:
    client.set(queue, "job")
    assert client.gets(queue) == "job"
    assert client.cas(queue, "next stage")
    assert client.get(queue) == "next stage"
    assert client.delete(queue)


def test_swap_of_a_lost_reservation(client: memcache.Client, queue: str) -> None:
    client.set(queue, "job")
    assert client.gets(queue) == "job"
    assert client.delete(queue)
    assert not client.cas(queue, "next stage")
    assert client.get(queue) is None


def test_counter(client: memcache.Client, queue: str) -> None:
    assert client.incr(queue) is None
    client.set(queue, "41")
    assert client.incr(queue) == 42
    assert client.decr(queue, 2) == 40
    client.set(queue + "text", "abc")
    with pytest.raises(ValueError, match="invalid literal"):  # how this library takes a CLIENT_ERROR
        client.incr(queue + "text")


def test_add_replace_append_prepend(client: memcache.Client, queue: str) -> None:
    assert not client.replace(queue, "x")
    assert client.add(queue, "draft")
    assert not client.add(queue, "again")
    assert client.replace(queue, "final")
    assert client.append(queue, "last")
    assert client.prepend(queue, "first")
    for expected in ("first", "final", "last"):
        assert client.get(queue) == expected
        assert client.delete(queue)


def test_noreply(client: memcache.Client, queue: str) -> None:
    assert client.set(queue, "x", noreply=True)
    assert client.get(queue) == "x"
    assert client.delete(queue, noreply=True)
    assert client.get(queue) is None


def test_item_too_large_leaves_the_connection_in_step(client: memcache.Client, queue: str) -> None:
    assert client.set(queue, "x" * 70000) == 0
    assert client.set(queue, "small")
    assert client.get(queue) == "small"


def test_bad_key_is_refused_by_the_server_too(server: ServerProcess, queue: str) -> None:
    client = memcache.Client([f"127.0.0.1:{server.port}"], check_keys=False)
    assert not client.set("k" * 251, "x")
    assert client.set(queue, "x")
    assert client.get(queue) == "x"
    client.disconnect_all()


@pytest.mark.parametrize("name", ["jobs", "schlüssel"])
def test_stats(tmp_path: Path, name: str) -> None:
    """This library takes stats for ASCII, whatever the keys are."""
    with ServerProcess(tmp_path / "log") as server:
        client = memcache.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
        client.set(name, "x")
        ((_, figures),) = client.get_stats()
        assert figures["curr_items"] == "1"
        if name.isascii():
            assert figures[f"queue_{name}_items"] == "1"
        ((_, settings),) = client.get_stats("settings")
        assert settings["max_item_size"] == str(1 << 20)
        client.disconnect_all()


def test_flush_all(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server:
        client = memcache.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
        client.set("q", "x")
        client.flush_all()
        assert client.get("q") is None
        client.disconnect_all()


def test_worker_that_dies_and_another(server: ServerProcess, client: memcache.Client, queue: str) -> None:
    """A worker that goes without delete; another that gets the item."""
    client.set(queue, "job")
    assert client.get(queue) == "job"
    other = memcache.Client([f"127.0.0.1:{server.port}"], socket_timeout=20)
    assert other.get(queue) is None
    client.disconnect_all()
    assert other.get(f"{queue}/t=15000") == "job"
    assert other.delete(queue) == 1
    other.disconnect_all()


def test_two_servers(server: ServerProcess, second_server: ServerProcess, queue: str) -> None:
    client = memcache.Client([f"127.0.0.1:{s.port}" for s in (server, second_server)], socket_timeout=20)
    names = [f"{queue}-{number}" for number in range(20)]
    for name in names:
        assert client.set(name, name)
    assert client.get_multi(names) == {name: name for name in names}
    for name in names:
        assert client.delete(name)
    client.disconnect_all()


def test_delayed_named_and_many_queues(client: memcache.Client, queue: str) -> None:
    assert client.set(f"{queue}/delay=0.2", "x")
    assert client.get(queue) is None
    keys = [f"{queue}none/or", f"{queue}/t=15000"]
    assert client.get_multi(keys) == {keys[1]: "x"}
    assert client.delete(queue)
    client.set(queue, "x")
    assert client.get(f"{queue}/as=me") == "x"
    assert not client.delete(queue)
    assert client.delete(f"{queue}/as=me")
