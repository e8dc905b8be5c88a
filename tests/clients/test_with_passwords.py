"""Real clients that authenticate, in clear and over TLS, and what they say where they may not."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiomcache
import bmemcached
import memcache
import pytest
from bmemcached.exceptions import MemcachedException
from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError

from tests.certificates import Certificates
from tests.clients.test_node import MODULES
from tests.clients.test_pylibmc import load
from tests.server_process import ServerProcess
from tests.users_file import write_users

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For the servers of this module."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


def users(directory: Path) -> Path:
    return write_users(directory / "users", worker="sesame reader=jobs.# writer=jobs.#")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that asks for passwords."""
    directory = tmp_path_factory.mktemp("guarded")
    with ServerProcess(directory / "log", users=users(directory)) as server:
        yield server


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[ServerProcess]:
    """One that speaks TLS besides."""
    directory = tmp_path_factory.mktemp("secured")
    options = {"users": users(directory), "tls_cert": certificates.cert, "tls_key": certificates.key}
    with ServerProcess(directory / "log", **options) as server:
        yield server


@pytest.fixture
def queue() -> str:
    """A queue of the user's that no other test uses."""
    return f"jobs.{next(_numbers)}"


# -- text -----------------------------------------------------------------------------


class AuthenticatedClient(Client):
    """pymemcache with a password, which it sends whenever it has connected, as docs/security.md has it."""

    credentials = b"worker sesame"

    def _connect(self) -> None:
        super()._connect()
        self.set("auth", self.credentials, noreply=False)


class AuthenticatedPool(PooledClient):
    client_class = AuthenticatedClient


def test_pymemcache(guarded: ServerProcess, queue: str) -> None:
    client = AuthenticatedClient(("127.0.0.1", guarded.port), default_noreply=False, timeout=20)
    assert client.set(queue, "a")
    assert client.get(queue) == b"a"
    assert client.delete(queue)
    client.close()  # it connects again, and authenticates again
    assert client.set(queue, "b")
    with pytest.raises(MemcacheClientError, match="not permitted, it needs writer=other"):
        client.set("other", "x")
    with pytest.raises(MemcacheClientError, match="not permitted, it needs reader=other"):
        client.get("other")
    assert client.get(queue) == b"b"
    client.close()


def test_pymemcache_with_a_pool_and_tls(secured: ServerProcess, certificates: Certificates, queue: str) -> None:
    pool = AuthenticatedPool(
        ("127.0.0.1", secured.port), tls_context=certificates.client(), default_noreply=False, timeout=20
    )
    assert pool.set(queue, b"x" * 200_000)
    assert pool.get(queue + "/as=me") == b"x" * 200_000
    assert pool.delete(queue + "/as=me")
    pool.close()


def test_pymemcache_with_a_wrong_password(guarded: ServerProcess) -> None:
    class Wrong(AuthenticatedClient):
        credentials = b"worker wrong"

    with pytest.raises(MemcacheClientError, match="authentication failure"):
        Wrong(("127.0.0.1", guarded.port), default_noreply=False, timeout=20).get("jobs")


def test_pymemcache_without_a_password(guarded: ServerProcess) -> None:
    client = Client(("127.0.0.1", guarded.port), default_noreply=False, timeout=20)
    with pytest.raises(MemcacheClientError, match="unauthenticated"):
        client.delete("jobs.x")
    with pytest.raises(MemcacheClientError, match="bad authentication token format"):
        client.set("jobs.x", "a")  # which is an attempt to authenticate
    client.close()


def test_python_memcached(guarded: ServerProcess, queue: str) -> None:
    client = memcache.Client([f"127.0.0.1:{guarded.port}"], socket_timeout=20)
    assert client.set("auth", "worker sesame")  # a string travels as it is
    assert client.set(queue, {"a": 1})
    assert client.get(queue) == {"a": 1}
    assert client.delete(queue)
    client.disconnect_all()


def test_python_memcached_without_a_password(guarded: ServerProcess, queue: str) -> None:
    client = memcache.Client([f"127.0.0.1:{guarded.port}"], socket_timeout=20)
    assert not client.set(queue, "a")
    client.disconnect_all()


def test_aiomcache(guarded: ServerProcess, queue: str) -> None:
    async def talk() -> None:
        client = aiomcache.Client("127.0.0.1", guarded.port, pool_size=1)
        assert await client.set(b"auth", b"worker sesame")
        assert await client.set(queue.encode(), b"a")
        assert await client.get(queue.encode()) == b"a"
        await client.close()

    asyncio.run(talk())


# -- SASL -----------------------------------------------------------------------------


def binary(server: ServerProcess, password: str = "sesame", context: ssl.SSLContext | None = None) -> bmemcached.Client:
    return bmemcached.Client([f"127.0.0.1:{server.port}"], "worker", password, socket_timeout=20, tls_context=context)


def test_python_binary_memcached(guarded: ServerProcess, queue: str) -> None:
    client = binary(guarded)
    assert client.set(queue, {"a": 1})
    assert client.get(queue) == {"a": 1}
    assert client.delete(queue)
    with pytest.raises(MemcachedException, match="not permitted, it needs reader=other"):
        client.get("other")
    assert client.set(queue, "b")  # over the same connection
    client.disconnect_all()


def test_python_binary_memcached_over_tls(secured: ServerProcess, certificates: Certificates, queue: str) -> None:
    client = binary(secured, context=certificates.client())
    assert client.set(queue, "a")
    assert client.get(queue) == "a"
    client.disconnect_all()


def test_python_binary_memcached_with_a_wrong_password(guarded: ServerProcess, queue: str) -> None:
    with pytest.raises(MemcachedException, match="Auth failure"):
        binary(guarded, "wrong").get(queue)


def test_python_binary_memcached_without_a_password(guarded: ServerProcess, queue: str) -> None:
    client = bmemcached.Client([f"127.0.0.1:{guarded.port}"], socket_timeout=20)
    with pytest.raises(MemcachedException, match="Auth failure"):
        client.get(queue)
    client.disconnect_all()


def test_a_password_that_nobody_asks_for_does_no_harm(server: ServerProcess, queue: str) -> None:
    client = binary(server)
    assert client.set(queue, "a")
    assert client.get(queue) == "a"
    client.disconnect_all()


PYLIBMC = """
import sys, pylibmc
port, queue = sys.argv[1:]
behaviors = {"_poll_timeout": 20_000, "receive_timeout": 20_000_000}
def connect(password):
    return pylibmc.Client([f"127.0.0.1:{port}"], binary=True, username="worker", password=password, behaviors=behaviors)
def refusal(client, key):
    try:
        return client.set(key, "x")
    except pylibmc.Error as error:
        return type(error).__name__
client = connect("sesame")
print(client.set(queue, "a"), client.get(queue), client.delete(queue))
print(refusal(connect("sesame"), "other"), refusal(connect("wrong"), queue))
"""


@pytest.mark.extra
def test_pylibmc(guarded: ServerProcess, queue: str) -> None:
    load()
    (plugins,) = Path("/usr/lib").glob("*/sasl2")  # a wheel brings the library and not its plugins
    done = subprocess.run(
        [sys.executable, "-c", PYLIBMC, str(guarded.port), queue],
        env={**os.environ, "SASL_PATH": str(plugins)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["True a True", "Error Error"], done


@pytest.mark.extra
@pytest.mark.parametrize(("password", "status"), [("sesame", 0), ("wrong", 1)])
def test_the_commands_of_libmemcached(guarded: ServerProcess, tmp_path: Path, password: str, status: int) -> None:
    if shutil.which("memccp") is None:
        pytest.fail("missing: tests/install-extra.sh " + sys.executable)
    file = tmp_path / "jobs.file"
    file.write_text("from a file")
    common = ["--binary", f"--servers=127.0.0.1:{guarded.port}", "--username=worker", f"--password={password}"]
    put = subprocess.run(["memccp", *common, file], capture_output=True, text=True, timeout=60, check=False)
    got = subprocess.run(["memccat", *common, file.name], capture_output=True, text=True, timeout=60, check=False)
    assert (put.returncode, got.returncode) == (status, status), (put, got)
    assert got.stdout == ("from a file\n" if status == 0 else "")
    if status:
        assert "AUTHENTICATION FAILURE" in put.stderr


MEMJS = r"""
const assert = require('assert');
const memjs = require('memjs');
const [port, q] = process.argv.slice(1);
const quiet = { log: () => {} };
const connect = (user) => memjs.Client.create(`${user}@127.0.0.1:${port}`, { timeout: 20, retries: 0, logger: quiet });
(async () => {
    const c = connect('worker:sesame');
    assert.strictEqual(await c.set(q, 'a', {}), true);
    assert.strictEqual((await c.get(q)).value.toString(), 'a');
    assert.strictEqual(await c.delete(q), true);
    c.close();
    const wrong = connect('worker:wrong');
    let outcome = 'let in';
    try { await wrong.set(q, 'b', {}); } catch (error) { outcome = 'refused'; }
    assert.strictEqual(outcome, 'refused');
    wrong.close();
    console.log('well');
    process.exit(0);
})().catch((error) => { console.log(error.message); process.exit(1); });
"""


@pytest.mark.extra
def test_memjs(guarded: ServerProcess, queue: str) -> None:
    if shutil.which("node") is None or not (MODULES / "memjs").is_dir():
        pytest.fail("missing: tests/install-extra.sh " + sys.executable)
    done = subprocess.run(
        ["node", "-e", MEMJS, str(guarded.port), queue],
        env={**os.environ, "NODE_PATH": str(MODULES)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "well\n", done
