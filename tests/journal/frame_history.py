"""What a journal must hold after each of its frames, by a replay of its own, and what a start on it finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from redqueue.journal.frame import Frame
from redqueue.journal.log import Log
from redqueue.journal.recovery import Recovered, Recovery
from tests.journal.journaled_queues import recovered_records
from tests.server_in_process import InProcessServer

State = dict[int, tuple[bytes, bytes]]
"""Queue and payload of each living item by its id."""


def state_of(recovered: Recovered) -> State:
    """What a recovery has found."""
    found: State = {}
    for name, records in recovered_records(recovered).items():
        for record in records:
            assert rec.item_id(record) not in found, "an item is there twice"
            found[rec.item_id(record)] = (name, rec.payload(record))
    return found


class FrameHistory:
    """Listens to a log from its start on.

    :ivar states: what was confirmed: before the first frame, and after each
    :ivar attempted: states that were not confirmed, but may be on the disk
    """

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self._names = dict(log._names.known)
        self.states = [state]
        self._ends = [0]
        self.attempted: list[State] = []
        self._append, log._append = log._append, self._append_frame  # type: ignore[method-assign]
        self._account, log._account = log._account, self._account_frame  # type: ignore[method-assign]
        self._write, log.write = log.write, self._write_common_frame  # type: ignore[method-assign]

    def _write_common_frame(self) -> bool:
        """A frame of puts and acknowledgements goes a short way of its own."""
        log, others = self._log, self._log._others
        if log._sync or others or log.copies or log._has_fan_out or log._names.needed(log._puts):
            return self._write()
        payload = b"".join([*log._puts, *(rec.ack(record[8:16]) for record in log._acks)])
        self.attempted.append(self._after(payload))
        if not self._write():
            self.attempted.pop()
            return False
        self._confirm()
        return True

    def _append_frame(self, frame: Frame) -> int:
        self.attempted.append(self._after(frame.payload))
        return self._append(frame)

    def _account_frame(self, frame: Frame, start: int) -> None:
        self._account(frame, start)
        self._confirm()

    def _confirm(self) -> None:
        self.states.append(self.attempted[-1])
        self._ends.append(seg.position(self._log._current.number, self._log._current.end))
        self.attempted.clear()

    def _after(self, payload: bytes) -> State:
        state = dict(self.states[-1])
        self._names.update(self._log._names.known)
        for _, record in rec.split(payload):
            kind = record[0]
            if kind == rec.NAME:
                assert self._names[record[2:8]] == record[8:]
            elif kind in (rec.PUT, rec.REWRITE):
                state[rec.item_id(record)] = (self._names[record[2:8]], rec.payload(record))
            elif kind == rec.ACK:
                state.pop(int.from_bytes(record[1:], "big"), None)
            else:
                below = int.from_bytes(record[8:16] if kind == rec.DROP else record[1:9], "big")
                queue = self._names[record[2:8]] if kind == rec.DROP else None
                state = {i: item for i, item in state.items() if i >= below or queue not in (None, item[0])}
        return state

    def after_kill(self) -> list[State]:
        """What may be found after kill -9: all that was confirmed, and what was being written."""
        return [self.states[-1], *self.attempted]

    def after_power_failure(self, sync: bool) -> list[State]:
        """What may be found after a power failure: at least what was confirmed, or synced."""
        synced = sum(end <= self._log._durable for end in self._ends) - 1
        return [*self.states[-1 if sync else synced :], *self.attempted]


def start_on(directory: Path, allowed: list[State]) -> State:
    """Start on what a crash has left, twice; what is found must be one of ``allowed``, and no file may be left over."""
    state = state_of(Recovery(directory).run())
    assert state in allowed, "what was found never was the state of the journal, or it is older than promised"
    for _ in range(2):
        server = InProcessServer(directory)
        assert state_of(server.recovered) == state
        server.run()
        names = {path.name for path in directory.iterdir()}
        listed = {path.name for _, path in seg.list_segments(directory)}
        assert names == listed, f"{names - listed} are left over"
        assert [entry.path.name for entry in server.log.index.segments] == sorted(listed)
        inodes = {(directory / name).stat().st_ino for name in names}
        assert len(inodes) == len(names), "two segments are one file"
        server.kill()
    return state


class Workload:
    """Clients that do everything there is to do, at random.

    :param order: makes all choices
    """

    def __init__(self, server: InProcessServer, order: random.Random) -> None:
        self.server = server
        self.order = order
        self.clients = [server.connect() for _ in range(3)]
        self.number = 0

    def act(self) -> None:
        """One client asks for something; it may be answered later."""
        order = self.order
        client = order.choice(self.clients)
        queue = order.choice((b"a", b"b", b"c/d"))
        self.number += 1
        body = b"%d " % self.number + b"." * order.choice((0, 50, 300, 900))
        put = b"%s 0 0 %d\r\n%s\r\n" % (queue, len(body), body)
        actions: list[tuple[int, Callable[[], None]]] = [
            (30, lambda: client.send(b"set " + put)),
            (3, lambda: client.send(b"prepend " + put)),
            (3, lambda: client.send(b"replace " + put)),
            (2, lambda: client.send(b"set number 0 0 1\r\n7\r\n")),
            (3, lambda: client.send(b"incr number 1\r\n")),
            (40, lambda: client.send(b"get %s\r\ndelete %s\r\n" % (queue, queue))),
            (3, lambda: client.send(b"get %s\r\n" % queue)),
            (2, lambda: client.send(b"get %s/abort\r\n" % queue)),
            (1, lambda: client.send(b"flush %s\r\n" % queue)),
            (8, lambda: self._swap(client, put)),
            (3, lambda: self._reconnect(client)),
            (6, lambda: self.server.pass_time()),
        ]
        order.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()

    def _swap(self, client: object, put: bytes) -> None:
        assert client in self.clients
        asker = self.clients[self.clients.index(client)]  # type: ignore[arg-type]
        self.server.run()
        asker.take()
        head = asker.ask(b"gets b\r\n").partition(b"\r\n")[0]
        if head.startswith(b"VALUE"):
            line, _, rest = put.partition(b"\r\n")
            asker.send(b"cas %s %s\r\n%s" % (line, head.split(b" ")[4], rest))

    def _reconnect(self, client: object) -> None:
        i = self.clients.index(client)  # type: ignore[arg-type]
        self.clients[i].close()
        self.clients[i] = self.server.connect()

    def run(self, actions: int) -> None:
        """So many actions, with some steps of the server between them, and the rest of the steps at the end."""
        for _ in range(actions):
            self.act()
            for _ in range(self.order.randrange(6)):
                self.server.step()
        self.server.run()
