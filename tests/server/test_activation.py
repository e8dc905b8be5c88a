"""Sockets that somebody else has bound."""

from __future__ import annotations

import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from redqueue.server.activation import BadSocket, PassedSockets, take_sockets
from tests.certificates import Certificates
from tests.documents import free_port
from tests.server.test_tls import Secured
from tests.server_process import ROOT, ServerProcess, Wire, wait_until

FIRST = 200
"""A number from which on the descriptors of a test's process are free."""
FOR_SERVERS = 250
"""Another one, which no socket object of this process has, that would close it when it is collected."""


@pytest.fixture
def passed() -> Iterator[list[socket.socket]]:
    """Sockets; those that a test appends it passes, in this order, by :func:`take`."""
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def tcp(listening: bool = True) -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    if listening:
        sock.listen()
    return sock


def take(sockets: list[socket.socket], **variables: str) -> PassedSockets:
    for fd, sock in enumerate(sockets, FIRST):
        os.dup2(sock.fileno(), fd)
    environment = {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid()), **variables}
    try:
        found = take_sockets(environment, FIRST)
    finally:
        assert environment == {}
    return found


def test_none() -> None:
    assert take_sockets({}).all() == []
    assert take([]).all() == []


def test_those_of_another_process_are_left_alone_and_the_variables_go() -> None:
    environment = {"LISTEN_FDS": "3", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b:c"}
    assert take_sockets(environment).all() == []
    assert environment == {}


@pytest.mark.parametrize("names", ["memcache:web", "redqueue.socket:web", "unknown:web", ":web"])
def test_each_has_its_purpose(passed: list[socket.socket], names: str) -> None:
    passed += [tcp(), tcp()]
    found = take(passed, LISTEN_FDNAMES=names)
    assert [sock.getsockname() for sock in found.queues] == [passed[0].getsockname()]
    assert [sock.getsockname() for sock in found.web] == [passed[1].getsockname()]
    for sock in found.all():  # nothing of this reaches what the server may start
        assert not sock.get_inheritable()
        assert not sock.getblocking()
        sock.close()


def test_without_names_and_with_a_unix_socket(passed: list[socket.socket], tmp_path: Path) -> None:
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "s"))
    local.listen()
    passed += [tcp(), local]
    found = take(passed)
    assert [sock.family for sock in found.queues] == [socket.AF_INET, socket.AF_UNIX]
    for sock in found.all():
        sock.close()


def test_what_cannot_be_used(passed: list[socket.socket]) -> None:
    def complaint(**variables: str) -> str:
        with pytest.raises(BadSocket) as caught:
            take(passed, **variables)
        return str(caught.value)

    passed.append(tcp(listening=False))
    assert f"socket {FIRST} (memcache) does not listen: write Accept=no" in complaint(LISTEN_FDNAMES="memcache")
    passed[:] = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
    assert "takes no connections: write ListenStream=" in complaint()
    passed[:] = [tcp()]
    assert "socket 200 is named 'mecmache': write FileDescriptorName=memcache" in complaint(LISTEN_FDNAMES="mecmache")
    assert complaint(LISTEN_FDNAMES="a:b") == "LISTEN_FDNAMES has 2 names for 1 sockets"
    assert complaint(LISTEN_FDS="some") == "LISTEN_FDS wants a number of sockets, not 'some'"
    assert "there is no socket for clients of queues" in complaint(LISTEN_FDNAMES="web")
    os.closerange(FIRST, FIRST + 1)
    with pytest.raises(BadSocket, match=r"socket 200 \(\) was not passed: Bad file descriptor"):
        take_sockets({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, FIRST)
    with Path(os.devnull).open() as file:
        os.dup2(file.fileno(), FIRST)
        with pytest.raises(BadSocket, match="is no socket"):
            take_sockets({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, FIRST)


# -- a server -------------------------------------------------------------------

PASS = """
import os, sys
sockets = [int(fd) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(sockets, 3):
    os.dup2(fd, number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3], sys.argv[3:])
"""


def activated(logdir: Path, sockets: list[socket.socket], names: str = "", **options: object) -> ServerProcess:
    """A server that gets these sockets, under these names."""
    server = ServerProcess(logdir, **options)
    server.inherited = [os.dup2(sock.fileno(), number) for number, sock in enumerate(sockets, FOR_SERVERS)]
    server.command = [sys.executable, "-c", PASS, ",".join(map(str, server.inherited)), names, *server.command]
    return server


@pytest.fixture(autouse=True)
def _no_descriptor_stays() -> Iterator[None]:
    yield
    gc.collect()
    for first in (FIRST, FOR_SERVERS):
        os.closerange(first, first + 10)


def test_a_server_serves_what_it_was_passed_and_clients_wait_while_it_restarts(tmp_path: Path) -> None:
    with tcp() as inet, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        local.listen()
        server = activated(tmp_path / "log", [inet, local])
        with server:
            host, port = inet.getsockname()
            assert (server.host, server.port) == (host, port)
            wait_until(lambda: f"also listening on {tmp_path / 's'}" in server.log)
            with server.connect() as wire, Wire.unix(tmp_path / "s") as other:
                assert wire.put(b"q", b"x") == b"STORED"
                assert other.ask(b"drain on") == b"OK"
                assert wire.put(b"q", b"x") == b"NOT_STORED"
            assert server.stop() == 0
            assert (tmp_path / "s").exists()
            with Wire("127.0.0.1", port) as waiting:
                waiting.send(b"get q\r\n")
                server.start()
                assert waiting.line() == b"VALUE q 0 1"


def test_a_socket_for_the_web_page(tmp_path: Path) -> None:
    with tcp() as queues, tcp() as web, activated(tmp_path / "log", [queues, web], "memcache:web") as server:
        host, port = web.getsockname()
        with urllib.request.urlopen(f"http://{host}:{port}/readyz", timeout=20) as answer:
            assert answer.status == 200
        with server.connect() as wire:
            assert wire.ask(b"version").startswith(b"VERSION")
        assert server.stop() == 0


def test_a_server_that_was_passed_nonsense_says_so(tmp_path: Path) -> None:
    with tcp(listening=False) as sock:
        server = activated(tmp_path / "log", [sock])
        server.launch()
        assert server.wait() == 2
        assert re.search(r"^redqueue_server.py: socket 3 \(\) does not listen: write Accept=no", server.log)


def test_a_socket_for_tls(tmp_path: Path) -> None:
    with tcp() as plain, tcp() as encrypted:
        server = activated(tmp_path / "log", [plain, encrypted], "memcache:tls")
        server.launch()
        assert server.wait() == 2
        server.says("the socket named tls wants the options tls_cert and tls_key")
        certificates = Certificates(tmp_path)
        server = activated(tmp_path / "log", [plain, encrypted], "memcache:tls", tls_cert=certificates.both)
        with server:
            _, port = encrypted.getsockname()
            with Secured(port, certificates.client()) as wire:
                assert wire.ask(b"version").startswith(b"VERSION")
            with server.connect() as other:
                assert other.ask(b"version").startswith(b"VERSION")


@pytest.mark.extra
def test_systemd_socket_activate(tmp_path: Path) -> None:
    """systemd's own tool for trying it out: the server starts at the first connection, which it then answers."""
    tool = shutil.which("systemd-socket-activate")
    assert tool, "systemd-socket-activate is missing: tests/install-extra.sh installs it"
    port = free_port()
    process = subprocess.Popen(
        [
            *(tool, f"--listen=127.0.0.1:{port}", "--fdname=memcache", f"--setenv=PYTHONPATH={ROOT}"),
            *(sys.executable, str(ROOT / "bin/redqueue_server.py"), f"--logdir={tmp_path / 'log'}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:

        def connects() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                return False
            return True

        wait_until(connects, what="the socket")
        with Wire("127.0.0.1", port) as wire:
            assert wire.put(b"q", b"x") == b"STORED"
            assert wire.stats()["pid"] == str(process.pid)
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=20)
        assert f"ready on 127.0.0.1:{port}" in log
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
