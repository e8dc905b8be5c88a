"""A connection that asks a server for its version each millisecond and notes how long it waits for the answer."""

from __future__ import annotations

import multiprocessing
import socket
import time
from contextlib import ExitStack
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType

from benchmarks.interrupts import deferred
from benchmarks.load import LoadError

PERIOD = 0.001
ANSWER_SECONDS = 60.0
ASK = b"version\r\n"


class Probe:
    """Asks some servers in turn, from a process of its own; a context manager that ends it.

    :param addresses: of the servers
    """

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self._addresses = addresses
        self._stack = ExitStack()
        self._pipe: Connection

    def __enter__(self) -> Probe:
        resource_tracker.ensure_running()
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._stack.callback(self._pipe.close)
        process = context.Process(target=_ask, args=(theirs, self._addresses), daemon=True)
        with deferred():
            process.start()
            self._stack.callback(process.join)
            self._stack.callback(process.kill)
        theirs.close()
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def take(self) -> list[float]:
        """The longest answer of each server since the last time, in seconds.

        :raises LoadError: it does not answer, since a server does not
        """
        try:
            self._pipe.send(None)
            if self._pipe.poll(ANSWER_SECONDS):
                longest: list[float] = self._pipe.recv()
                return longest
        except (EOFError, OSError):
            pass
        raise LoadError("the probe has ended: a server did not answer it")


def _ask(pipe: Connection, addresses: tuple[tuple[str, int], ...]) -> None:
    connections = [socket.create_connection(address, ANSWER_SECONDS) for address in addresses]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    longest = [0.0] * len(connections)
    clock = time.perf_counter
    while True:
        for i, connection in enumerate(connections):
            sent = clock()
            connection.sendall(ASK)
            if not connection.recv(4096):
                return
            longest[i] = max(longest[i], clock() - sent)
        try:
            if pipe.poll(PERIOD):
                pipe.recv()
                pipe.send(longest)
                longest = [0.0] * len(connections)
        except (EOFError, OSError):
            return
