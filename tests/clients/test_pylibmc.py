"""pylibmc, which is libmemcached, the C library under many languages' clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.waiting import put_once_it_waits
from tests.server_process import ServerProcess

pytestmark = pytest.mark.extra


def load() -> Any:
    """The library; a test fails, with what to do, where it is missing."""
    try:
        import pylibmc
    except ImportError as error:
        pytest.fail(f"{error}: pip install pylibmc (where there is no wheel: apt-get install libmemcached-dev first)")
    return pylibmc


@pytest.fixture(params=["text", "binary"])
def client(server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client that waits long enough, and uses cas; of either protocol."""
    client = load().Client(
        [f"127.0.0.1:{server.port}"],
        binary=request.param == "binary",
        behaviors={"cas": True, "_poll_timeout": 20_000, "receive_timeout": 20_000_000},
    )
    yield client
    client.disconnect_all()


def test_set_get_delete(client: Any, queue: str) -> None:
    assert client.set(queue, "first")
    assert client.set(queue, "second")
    assert client.get(queue) == "first"
    assert client.get(queue) is None
    assert client.delete(queue)
    assert client.get(queue) == "second"
    assert client.delete(queue)
    assert not client.delete(queue)


@pytest.mark.parametrize("value", ["grüße, 世界", b"\x00\r\n", 42, True, {"a": [1, 2]}, ""])
def test_values_and_flags(client: Any, queue: str, value: object) -> None:
    assert client.set(queue, value)
    assert client.get(queue) == value


def test_multi(client: Any, queue: str) -> None:
    values = {queue + "a": 1, queue + "b": 2}
    assert client.set_multi(values) == []
    assert client.get_multi([*values, queue + "c"]) == values
    assert client.delete_multi(list(values))
    assert client.get_multi(list(values)) == {}


def test_waiting_get(server: ServerProcess, client: Any, queue: str) -> None:
    with put_once_it_waits(server, queue, b"x"):
        assert client.get(f"{queue}/t=15000") == b"x"
    assert client.delete(queue)


def test_touch_swap_and_counter(client: Any, queue: str) -> None:
    """A reply about a number that is none ends a binary connection: this library knows no such status."""
    assert not client.touch(queue, 100)
    client.set(queue, "job")
    value, token = client.gets(queue)
    assert value == "job"
    assert client.touch(queue, 100)
    assert client.cas(queue, "next", token)
    assert client.get(queue) == "next"
    client.set(queue + "n", "41")
    client.set(queue + "x", "abc")
    assert client.incr(queue + "n", 1) == 42
    assert client.decr(queue + "n", 2) == 40
    with pytest.raises(load().Error):
        client.incr(queue + "x", 1)
    if not client.binary:
        assert client.set(queue, "the connection goes on")


def test_add_replace_append_prepend(client: Any, queue: str) -> None:
    try:
        assert not client.replace(queue, "x")
    except load().NotFound:
        assert client.binary
    assert client.add(queue, "draft")
    assert not client.add(queue, "again")
    assert client.replace(queue, "final")
    assert client.append(queue, b"last")
    assert client.prepend(queue, b"first")
    for expected in (b"first", "final", b"last"):
        assert client.get(queue) == expected
        assert client.delete(queue)


def test_item_too_large(client: Any, queue: str) -> None:
    with pytest.raises(load().Error):
        client.set(queue, b"x" * 70000)
    assert client.set(queue, b"small")
    assert client.get(queue) == b"small"


@pytest.mark.parametrize("binary", [False, True])
def test_noreply(server: ServerProcess, queue: str, binary: bool) -> None:
    client = load().Client([f"127.0.0.1:{server.port}"], binary=binary, behaviors={"_noreply": True})
    for i in range(10):
        client.set(queue, str(i))
    for i in range(10):
        assert client.get(queue) == str(i)
        client.delete(queue)
    assert client.get(queue) is None
    client.disconnect_all()


def test_in_is_a_get(client: Any, queue: str) -> None:
    """What this library makes of ``in``: a get, which reserves."""
    assert queue not in client
    client.set(queue, "x")
    assert queue in client
    assert client.get(queue) is None
    assert client.delete(queue)


def test_delayed_and_named(client: Any, queue: str) -> None:
    assert client.set(queue + "/delay=0.2", "x")
    assert client.get(queue) is None
    assert client.get(queue + "/t=15000/as=me") == "x"
    assert not client.delete(queue)
    assert client.delete(queue + "/as=me")


@pytest.mark.parametrize("binary", [False, True])
def test_two_servers(server: ServerProcess, second_server: ServerProcess, queue: str, binary: bool) -> None:
    servers = [f"127.0.0.1:{s.port}" for s in (server, second_server)]
    client = load().Client(servers, binary=binary, behaviors={"ketama": True})
    names = [f"{queue}-{i}" for i in range(50)]
    for name in names:
        assert client.set(name, name)
    assert client.get_multi(names) == {name: name for name in names}
    for name in names:
        assert client.delete(name)
    client.disconnect_all()
