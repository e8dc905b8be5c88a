"""The load: processes that talk over many connections each and note how long every reply took."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import select
import socket
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from benchmarks.dialects import DIALECTS, Conversation, ReplyError
from benchmarks.interrupts import deferred

STALL_SECONDS = 20.0
"""A server that sends nothing for this long has failed."""
CONNECT_SECONDS = 60.0
RECEIVE_BYTES = 65536


class LoadError(Exception):
    """The load could not be run; the message says why."""


@dataclass(frozen=True)
class Load:
    """What is done to a server.

    :ivar kind: ``"cycle"``: put, take and acknowledge; ``"puts"``: only puts
    :ivar connections: in all
    :ivar depth: requests that a connection sends at once before it awaits their replies; 1 for a cycle
    :ivar seconds: how long new items are begun; unlimited where ``batches`` is given
    :ivar batches: how often each connection sends ``depth`` puts; None: until the time is over
    """

    kind: str
    connections: int
    depth: int = 1
    seconds: float = 2.0
    batches: int | None = None


@dataclass
class Outcome:
    """What came of a load.

    :ivar requests: that were answered rightly
    :ivar begun: the monotonic moment of the first request, in seconds
    :ivar ended: that of the last reply
    :ivar latencies: seconds from sending to receiving, one for each request, or each batch of them
    :ivar errors: what went wrong, a connection each
    """

    requests: int = 0
    begun: float = 0.0
    ended: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    errors: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take in what another process did at the same time."""
        self.begun = min(self.begun, other.begun) if self.latencies else other.begun
        self.ended = max(self.ended, other.ended)
        self.requests += other.requests
        self.latencies += other.latencies
        self.errors += other.errors


def run(load: Load, server: str, address: tuple[str, int], cpus: list[int], before: Callable[[], object]) -> Outcome:
    """Drive a server.

    :param server: its name in :data:`benchmarks.dialects.DIALECTS`
    :param cpus: a process is started and pinned for each; empty: one, where the system likes
    :param before: called when all connections are open and answered, right before the first request
    :raises LoadError: a process ended or did not answer; connections that fail are errors of the outcome
    """
    # Starting a first process starts this one as well, and unblocks SIGINT and SIGTERM while at it.
    resource_tracker.ensure_running()
    context = multiprocessing.get_context("spawn")
    places: list[int | None] = list(cpus) or [None]
    places = places[: load.connections]
    with ExitStack() as stack:
        pipes: list[Connection] = []
        first = 0
        for index, cpu in enumerate(places):
            count = load.connections // len(places) + (index < load.connections % len(places))
            ours, theirs = context.Pipe()
            stack.callback(ours.close)
            arguments = (theirs, replace(load, connections=count), server, address, first, cpu)
            first += count
            process = context.Process(target=_generate, args=arguments, daemon=True)
            with deferred():
                process.start()
                stack.callback(_end, process)
            theirs.close()
            pipes.append(ours)
        for pipe in pipes:
            _receive(pipe, CONNECT_SECONDS)
        before()
        for pipe in pipes:
            pipe.send("go")
        outcome = Outcome()
        for pipe in pipes:
            outcome.add(_receive(pipe, load.seconds + 600.0))
        return outcome


def _receive(pipe: Connection, seconds: float) -> Any:
    try:
        if pipe.poll(seconds):
            answer = pipe.recv()
            if isinstance(answer, str):
                raise LoadError(answer)
            return answer
    except EOFError:
        raise LoadError("a process of the load ended") from None
    raise LoadError(f"a process of the load did not answer for {seconds:g} s")


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()


# -- in the load's own processes ----------------------------------------------------------


def _generate(pipe: Connection, load: Load, server: str, address: tuple[str, int], first: int, cpu: int | None) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    dialect = DIALECTS[server]
    try:
        sockets = [_connect(address, dialect.hello) for _ in range(load.connections)]
    except (OSError, ReplyError) as error:
        pipe.send(f"cannot connect to {server}: {error}")
        return
    stop: list[bool] = []
    conversations = {}
    for number, connection in enumerate(sockets, first):
        if load.kind == "cycle":
            conversations[connection] = dialect.cycle(number, stop)
        else:
            conversations[connection] = dialect.puts(number, stop, load.depth, load.batches)
    gc.freeze()
    gc.disable()
    pipe.send(None)
    try:
        pipe.recv()
    except EOFError:  # the benchmark is gone
        return
    pipe.send(drive(conversations, stop, load))


def _connect(address: tuple[str, int], hello: bytes) -> socket.socket:
    """A connection that the server has answered, so that accepting it is no part of what is measured."""
    connection = socket.create_connection(address, STALL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(hello)
    reply = b""
    while not reply.endswith(b"\r\n"):
        data = connection.recv(RECEIVE_BYTES)
        if not data:
            raise ReplyError(reply)
        reply += data
    connection.setblocking(False)
    return connection


def drive(conversations: dict[socket.socket, Conversation], stop: list[bool], load: Load) -> Outcome:
    """Hold all conversations at once until they end.

    :param stop: is filled when the time is over, which ends the conversations after their item at hand
    """
    clock = time.perf_counter
    outcome = Outcome(begun=time.monotonic())
    note = outcome.latencies.append
    finish = clock() + load.seconds if load.batches is None else float("inf")
    talks = {}
    sent_at = {}
    with select.epoll() as epoll:
        poll = epoll.poll
        for connection, conversation in conversations.items():
            fd = connection.fileno()
            talks[fd] = (connection.recv, connection.send, conversation.send, connection)
            epoll.register(fd, select.EPOLLIN)
            sent_at[fd] = clock()
            connection.sendall(next(conversation) or b"")
        while talks:
            events = poll(STALL_SECONDS)
            if not events:
                outcome.errors += [f"no reply for {STALL_SECONDS:g} s"] * len(talks)
                break
            for fd, _ in events:
                receive, send, answer, connection = talks[fd]
                try:
                    data = receive(RECEIVE_BYTES)
                    now = clock()
                    if not data:
                        raise ConnectionError("the server closed the connection")
                    request = answer(data)
                    if request is None:
                        continue
                    note(now - sent_at[fd])
                    sent_at[fd] = now
                    if send(request) != len(request):
                        raise BufferError("a batch of requests does not fit the socket's buffer")
                    continue
                except StopIteration:
                    note(now - sent_at[fd])
                except BlockingIOError:
                    continue
                except (ReplyError, OSError, BufferError) as error:
                    outcome.errors.append(str(error))
                epoll.unregister(fd)
                del talks[fd]
            if clock() >= finish and not stop:
                stop.append(True)
    outcome.ended = time.monotonic()
    outcome.requests = len(outcome.latencies) * load.depth
    for connection in conversations:
        connection.close()
    return outcome
