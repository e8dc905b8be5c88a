"""Ten thousand clients that are only there."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_process import ServerProcess, wait_until

CLIENTS = 10_000
MOST_BYTES = 15 * 1024
"""Resident memory of the server for each of them."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process, and the server that it starts, have a descriptor for every client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CLIENTS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.fail(f"this test needs {needed} open files; the hard limit is {hard}: raise it (ulimit -Hn {needed})")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(server: ServerProcess, count: int) -> list[socket.socket]:
    """``count`` connections, a few hundred at a time."""
    clients: list[socket.socket] = []
    deadline = time.monotonic() + 60
    with selectors.DefaultSelector() as selector:
        while len(clients) < count:
            pending = set()
            for _ in range(min(500, count - len(clients))):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex((server.host, server.port))
                selector.register(client, selectors.EVENT_WRITE)
                pending.add(client)
                clients.append(client)
            while pending:
                assert time.monotonic() < deadline, f"{len(clients) - len(pending)} of {count} are connected"
                for entry, _ in selector.select(1):
                    client = entry.fileobj
                    assert isinstance(client, socket.socket)
                    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                    selector.unregister(client)
                    pending.discard(client)
    return clients


@pytest.mark.usefixtures("many_files")
def test_ten_thousand_idle_connections_while_one_client_works(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as worker:
        for _ in range(300):
            assert worker.put(b"q", b"job") == b"STORED"
            worker.get(b"q")
            worker.ask(b"delete q")
        before = server.resident_bytes()
        idle = connect(server, CLIENTS)
        wait_until(lambda: worker.stats()["curr_connections"] == str(CLIENTS + 1), 60, "all connections")
        for _ in range(300):
            assert worker.put(b"q", b"job") == b"STORED"
            assert worker.get(b"q") == [(b"q", 0, b"job")]
            assert worker.ask(b"delete q") == b"DELETED"
        each = (server.resident_bytes() - before) / CLIENTS
        assert each < MOST_BYTES, f"an idle connection takes {each:.0f} bytes"

        for client in idle[::100]:  # and each of them is alive
            client.settimeout(10)
            client.sendall(b"version\r\n")
            assert client.recv(100).startswith(b"VERSION")
        for client in idle:
            client.close()
        wait_until(lambda: worker.stats()["curr_connections"] == "1", 60, "the end of all connections")
        assert "Traceback" not in server.log


@pytest.mark.usefixtures("many_files")
def test_a_thousand_waiters_and_one_item(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "log") as server, server.connect() as worker:
        waiting = connect(server, 1000)
        for client in waiting:
            client.send(b"get q/t=60000\r\n")
        wait_until(lambda: worker.stats(b"queue q").get("waiters") == "1000", what="the line")
        assert worker.put(b"q", b"x") == b"STORED"
        wait_until(lambda: worker.stats(b"queue q")["waiters"] == "999", what="the first of the line")
        with selectors.DefaultSelector() as selector:
            for client in waiting:
                selector.register(client, selectors.EVENT_READ)
            assert len(selector.select(0)) == 1
        for client in waiting:
            client.close()
