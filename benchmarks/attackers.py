"""Clients that behave badly, each kind in a process of its own, as fast as it can."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

from benchmarks.interrupts import deferred

Address = tuple[str, int]

LORISES = 500
FLOODS = 8
SCRIPT = b"set flood 0 0 64\r\n" + b"x" * 64 + b"\r\nget flood\r\ndelete flood\r\n"
SMALL = b"get none\r\ndelete none\r\nversion\r\nmn\r\n"
REFUSED = 64 << 20
RECEIVE_BYTES = SEND_BYTES = 1 << 16
"""Not more, as the kernel copies these in one go, and the measuring clients share the attackers' CPU."""


def slow_loris(address: Address) -> None:
    """Five hundred clients that send a byte of a line now and then, and come again when they are cut off."""
    clients = [_connect(address) for _ in range(LORISES)]
    while True:
        for i, client in enumerate(clients):
            try:
                client.send(b"a")
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                clients[i] = _connect(address)
            time.sleep(1 / LORISES)


def pipelining(address: Address) -> None:
    """Set, get and delete, thousands at once; the replies are read."""
    _stream(address, SCRIPT * 500, reads=True)


def small_requests(address: Address) -> None:
    """The shortest requests there are, tens of thousands at once."""
    _stream(address, SMALL * 2000, reads=True)


def never_reading(address: Address) -> None:
    """Requests with long replies, which nobody reads; who is not read any more comes again."""
    with socket.create_connection(address, 10) as client:
        client.sendall(b"set big 0 0 10000\r\n" + b"." * 10000 + b"\r\n")
        client.recv(100)
    _stream(address, b"get big/peek\r\n" * 1000, reads=False)


def refused_bodies(address: Address) -> None:
    """Bodies that are far too long, one after the other."""
    _stream(address, b"set flood 0 0 %d\r\n" % REFUSED + b"." * REFUSED + b"\r\n", reads=True)


def coming_and_going(address: Address) -> None:
    """Connections that ask one thing and are reset."""
    while True:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            client.connect(address)
            client.send(b"version\r\n")
        client.close()


KINDS: dict[str, Callable[[Address], None]] = {
    "slow loris": slow_loris,
    "pipelining": pipelining,
    "small requests": small_requests,
    "never reading": never_reading,
    "refused bodies": refused_bodies,
    "coming and going": coming_and_going,
}


def _connect(address: Address) -> socket.socket:
    client = socket.create_connection(address, 30)
    client.setblocking(False)
    return client


def _stream(address: Address, script: bytes, reads: bool) -> None:
    """Send ``script`` again and again over some connections; one that takes nothing for a second is made anew."""
    view = memoryview(script)
    with selectors.DefaultSelector() as selector:
        sent: dict[socket.socket, int] = {}
        taken: dict[socket.socket, float] = {}

        def begin() -> None:
            client = _connect(address)
            sent[client], taken[client] = 0, time.monotonic()
            selector.register(client, selectors.EVENT_WRITE | (selectors.EVENT_READ if reads else 0))

        def end(client: socket.socket) -> None:
            selector.unregister(client)
            client.close()
            del sent[client], taken[client]
            begin()

        for _ in range(FLOODS):
            begin()
        while True:
            for key, events in selector.select(0.2):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                try:
                    if events & selectors.EVENT_READ and not client.recv(RECEIVE_BYTES):
                        end(client)
                        continue
                    if events & selectors.EVENT_WRITE:
                        sent[client] = (sent[client] + client.send(view[sent[client] :][:SEND_BYTES])) % len(script)
                        taken[client] = time.monotonic()
                except BlockingIOError:
                    pass
                except OSError:
                    end(client)
            if not reads:
                for client, moment in list(taken.items()):
                    if time.monotonic() - moment > 1:
                        end(client)


@contextmanager
def attack(kinds: list[str], address: Address, cpu: int | None) -> Iterator[None]:
    """Have processes of these kinds at work inside the block."""
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("spawn")
    processes = []
    try:
        for kind in kinds:
            process = context.Process(target=_run, args=(kind, address, cpu), daemon=True)
            with deferred():
                process.start()
                processes.append(process)
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run(kind: str, address: Address, cpu: int | None) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    KINDS[kind](address)
