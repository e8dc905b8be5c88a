"""kill -9 under load, judged by a ledger outside of the server: ``python -m tests.crash --rounds N --seed S``.

Each round starts the server on the journal that the last kill left, lets
producers, consumers and movers work on it, and kills it at a random moment; now and
then it ends it cleanly instead. Segments are small, memory is smaller than the
backlog, and items parked for ever keep old segments, so that rotation, compaction
and reading back go on all the time. The clients write into the ledger what they
are about to ask before they send it, and what was answered after they have read
it. At the end everything is drained. Then

1. what was confirmed, and nobody tried to acknowledge, is in the last drain;
2. what was acknowledged is never delivered after that;
3. a swap whose answer was lost has happened as a whole or not at all;
4. bodies and flags are as they were put, and nothing comes that was not put;
5. the items of one producer come in its order when they come for the first time,
   judged for each consumer where a queue has several.

The seed fixes sizes, mixes and moments, but not how the processes interleave.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import IN_MEMORY
from tests.journal.crash_points import FAULTS, live_and_crash
from tests.server_process import ServerProcess, Wire

MAIN_QUEUES = (b"alone", b"shared", b"crowded/work")
"""``alone`` has one consumer, the others have more."""
MAX_BACKLOG = 40
"""Items in a queue above which producers wait for consumers, so that segments also die."""
MOVED = b"moved"
"""Filled by swaps only, and emptied by whoever swaps."""
PARKED = b"parked"
"""A few more items in each round, which nobody takes before the end."""
MEMORIES = ("10kb", "50kb", "256mb")
WORRYING = ("Traceback", "ERROR", "CRITICAL")
"""No kill may make the server log such a line."""


@dataclass
class Item:
    """What the ledger knows of one item.

    :ivar put: ``intended``, ``confirmed`` or ``refused``
    :ivar ack: empty, ``intended`` or ``confirmed``
    :ivar drained: how often it came in the last drain
    """

    number: int
    queue: bytes
    producer: str
    size: int
    put: str = "intended"
    ack: str = ""
    deliveries: int = 0
    drained: int = 0


@dataclass
class Swap:
    """A ``cas`` that was not answered: ``after`` was to take the place of ``before``, delivered so often by then."""

    before: Item
    after: Item
    deliveries: int


@dataclass
class Ledger:
    """Intents and replies, and the rules they break."""

    items: dict[int, Item] = field(default_factory=dict)
    swaps: dict[int, Swap] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    last_first: dict[tuple[object, ...], int] = field(default_factory=dict)
    backlog: dict[bytes, int] = field(default_factory=dict)
    draining: bool = False
    compacted_segments: int = 0
    copied_items: int = 0
    lock: threading.Condition = field(default_factory=threading.Condition)

    def intend_put(self, queue: bytes, producer: str, size: int) -> Item:
        """An item is about to be put."""
        with self.lock:
            item = Item(len(self.items) + 1, queue, producer, size)
            self.items[item.number] = item
            return item

    def answer_put(self, item: Item, reply: bytes) -> None:
        """The reply to a put was read."""
        with self.lock:
            if reply == b"STORED":
                item.put = "confirmed"
                self.backlog[item.queue] = self.backlog.get(item.queue, 0) + 1
            else:
                item.put = "refused"
                self.violations.append(f"item {item.number}: a set was answered {reply!r}")

    def record_delivery(self, queue: bytes, flags: int, body: bytes, order_of: tuple[object, ...]) -> Item | None:
        """An item was read.

        :param order_of: whose view of the order this is
        """
        with self.lock:
            number = number_of(body)
            item = self.items.get(number)
            if item is None or item.queue != queue:
                self.violations.append(f"{body[:60]!r} came from {queue!r} and was never put there")
                return None
            if body != make_body(item) or flags != make_flags(item):
                self.violations.append(f"item {number} came with another body or other flags ({flags})")
            if item.put == "refused":
                self.violations.append(f"item {number} was refused and came all the same")
            if item.ack == "confirmed":
                self.violations.append(f"item {number} came after its acknowledgement had been confirmed")
            if not item.deliveries:
                key = (*order_of, queue, item.producer)
                if number < self.last_first.get(key, 0):
                    self.violations.append(f"item {number} came after {self.last_first[key]} of {key}")
                self.last_first[key] = number
            item.deliveries += 1
            item.drained += self.draining
            return item

    def intend_ack(self, item: Item, after: Item | None = None) -> None:
        """An item is about to be acknowledged, or to be swapped for ``after``."""
        with self.lock:
            item.ack = "intended"
            if after is not None:
                self.swaps[after.number] = Swap(item, after, item.deliveries)

    def answer_ack(self, item: Item, reply: bytes, good: bytes, after: Item | None = None) -> None:
        """The reply to an acknowledgement, or to a swap for ``after``, was read."""
        with self.lock:
            if after is not None:
                del self.swaps[after.number]
            if reply == good:
                item.ack = "confirmed"
                self.backlog[item.queue] = self.backlog.get(item.queue, 0) - 1
                self.lock.notify_all()
            else:
                self.violations.append(f"item {item.number}: an acknowledgement was answered {reply!r}")

    def wait_for_room(self, queue: bytes, seconds: float) -> None:
        """Wait until consumers have caught up on ``queue``, or the time is over."""
        with self.lock:
            self.lock.wait_for(lambda: self.backlog.get(queue, 0) < MAX_BACKLOG, seconds)

    def judge(self) -> None:
        """After the last drain: what should have come and has not, and what should not exist twice."""
        for item in self.items.values():
            if item.put == "confirmed" and not item.ack and not item.drained:
                self.violations.append(f"item {item.number} of {item.queue!r} was confirmed and is lost")
            if item.drained > 1:
                self.violations.append(f"item {item.number} came {item.drained} times in one drain")
        for swap in self.swaps.values():
            undone, done = swap.before.deliveries > swap.deliveries, swap.after.deliveries > 0
            if undone == done:
                state = "both come" if done else "are both lost"
                self.violations.append(f"items {swap.before.number} and {swap.after.number} of one swap {state}")

    def summary(self) -> str:
        """Counts."""
        items = self.items.values()
        return (
            f"{len(items)} puts, {sum(i.put == 'confirmed' for i in items)} confirmed, "
            f"{sum(i.ack == 'confirmed' for i in items)} acknowledged, "
            f"{sum(i.put == 'intended' for i in items)} puts and {sum(i.ack == 'intended' for i in items)} "
            f"acknowledgements ({len(self.swaps)} of them swaps) without an answer, "
            f"{sum(i.deliveries > 1 for i in items)} delivered again, "
            f"{self.compacted_segments} segments compacted, {self.copied_items} items copied"
        )


def make_body(item: Item) -> bytes:
    """The body of an item: its number, a hash of that, and line ends up to its size."""
    head = b"%d %s " % (item.number, hashlib.sha256(b"%d" % item.number).hexdigest().encode())
    return head + b"\r\n" * (item.size // 2)


def make_flags(item: Item) -> int:
    """The flags of an item."""
    return item.number * 2654435761 & 0xFFFFFFFF


def number_of(body: bytes) -> int:
    """The number in a body, 0 where there is none."""
    number = body.partition(b" ")[0]
    return int(number) if number.isdigit() else 0


class Work:
    """Everything that happens in one round, and the drain.

    :param number: of the round
    """

    def __init__(self, ledger: Ledger, server: ServerProcess, number: int, seed: int) -> None:
        self._ledger = ledger
        self._server = server
        self._number = number
        self._seed = seed
        self._ended = threading.Event()
        self.failures: list[BaseException] = []
        self.replies = 0

    def start(self) -> list[threading.Thread]:
        """Start the clients; each ends when the server does."""
        jobs: list[tuple[str, Callable[[Wire, random.Random, str], None]]] = [
            ("producer-1", self._produce),
            ("producer-2", self._produce),
            ("consumer-alone", lambda wire, random_, name: self._consume(wire, random_, name, MAIN_QUEUES[:1])),
            ("consumer-1", lambda wire, random_, name: self._consume(wire, random_, name, MAIN_QUEUES[1:])),
            ("consumer-2", lambda wire, random_, name: self._consume(wire, random_, name, MAIN_QUEUES[1:])),
            ("mover", lambda wire, random_, name: self._move(wire, random_, name)),
            ("parker", self._park),
        ]
        threads = [threading.Thread(target=self._guard, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        return threads

    def end(self) -> None:
        """Connect no more: the port may soon be somebody else's."""
        self._ended.set()

    def _guard(self, name: str, job: Callable[[Wire, random.Random, str], None]) -> None:
        random_ = random.Random(f"{self._seed} {self._number} {name}")
        try:
            while not self._ended.is_set():
                with self._server.connect() as wire:
                    job(wire, random_, name)
        except (ConnectionError, EndedError):
            pass  # the kill
        except BaseException as error:
            self.failures.append(error)

    def _produce(self, wire: Wire, random_: random.Random, name: str) -> None:
        """Pipelined sets, a few at a time."""
        while True:
            items, script = [], []
            for _ in range(random_.choice((1, 1, 1, 2, 5, 20))):
                queue = random_.choice(MAIN_QUEUES)
                self._ledger.wait_for_room(queue, 0.05)
                item = self._ledger.intend_put(queue, name, random_.choice((0, 100, 100, 1000, 5000)))
                items.append(item)
                script.append(put_command(item, b"set"))
            send(wire, b"".join(script))
            for item in items:
                self._ledger.answer_put(item, self._reply(wire))

    def _park(self, wire: Wire, random_: random.Random, name: str) -> None:
        """A few sets, spread over the round."""
        for _ in range(3):
            item = self._ledger.intend_put(PARKED, name, random_.choice((100, 1000, 5000)))
            send(wire, put_command(item, b"set"))
            self._ledger.answer_put(item, self._reply(wire))
            self._ended.wait(0.1)
        self._ended.wait()
        raise EndedError

    def note_compaction(self) -> None:
        """Add up what compaction has done in this round."""
        with self._server.connect() as wire:
            stats = wire.stats()
        self._ledger.compacted_segments += int(stats["journal_compacted_segments"])
        self._ledger.copied_items += int(stats["journal_copied_items"])

    def _consume(self, wire: Wire, random_: random.Random, name: str, queues: tuple[bytes, ...]) -> None:
        """Gets, of which most are acknowledged, some given back, and some kept until the connection closes."""
        for _ in range(random_.randrange(20, 200)):
            queue = random_.choice(queues)
            item, _ = self._get(wire, queue, name, b"get %s%s\r\n" % (queue, random_.choice((b"", b"", b"/t=20"))))
            if item is None:
                continue
            chance = random_.random()
            if chance < 0.75:
                self._ledger.intend_ack(item)
                send(wire, b"delete %s\r\n" % queue)
                self._ledger.answer_ack(item, self._reply(wire), b"DELETED")
            elif chance < 0.85:
                send(wire, b"get %s/abort\r\n" % queue)
                assert self._reply(wire) == b"END"
            elif chance < 0.95:
                return

    def _move(self, wire: Wire, random_: random.Random, name: str) -> None:
        """Swaps from a queue to the next stage, and what comes out there is acknowledged."""
        while True:
            queue = random_.choice(MAIN_QUEUES[1:])
            item, token = self._get(wire, queue, name, b"gets %s/t=20\r\n" % queue)
            if item is not None:
                there = self._ledger.intend_put(MOVED, name, 100)
                self._ledger.intend_ack(item, there)
                send(wire, put_command(there, b"cas", token))
                reply = self._reply(wire)
                self._ledger.answer_ack(item, reply, b"STORED", there)
                self._ledger.answer_put(there, reply)
            if random_.random() < 0.5:
                item, _ = self._get(wire, MOVED, name, b"get %s\r\n" % MOVED)
                if item is not None:
                    self._ledger.intend_ack(item)
                    send(wire, b"delete %s\r\n" % MOVED)
                    self._ledger.answer_ack(item, self._reply(wire), b"DELETED")

    def drain(self) -> None:
        """Take and acknowledge everything that is left."""
        with self._server.connect() as wire:
            for queue in (*MAIN_QUEUES, MOVED, PARKED):
                while (item := self._get(wire, queue, "drain", b"get %s\r\n" % queue)[0]) is not None:
                    self._ledger.intend_ack(item)
                    send(wire, b"delete %s\r\n" % queue)
                    self._ledger.answer_ack(item, self._reply(wire), b"DELETED")
            left = wire.stats()
            if left["curr_items"] != "0":
                self._ledger.violations.append(f"{left['curr_items']} items are left after the drain")

    def _get(self, wire: Wire, queue: bytes, name: str, command: bytes) -> tuple[Item | None, int]:
        """Send a get and record what comes; returns the item and its token."""
        send(wire, command)
        line = self._reply(wire)
        if line == b"END":
            return None, 0
        word, _, flags, size, *token = line.split(b" ")
        assert word == b"VALUE", line
        body = read(wire, int(size))
        assert read(wire, 7) == b"\r\nEND\r\n"
        # A get whose answer the kill took away was a first delivery that nobody saw. With one consumer the same item
        # comes first again; with several, the order can only be judged for each of them, between two kills.
        order_of = () if queue in (MAIN_QUEUES[0], MOVED, PARKED) else (name, self._number)
        return self._ledger.record_delivery(queue, int(flags), body, order_of), int(token[0]) if token else 0

    def _reply(self, wire: Wire) -> bytes:
        line = wire.line()
        if wire.ended:
            raise EndedError
        self.replies += 1
        return line


class EndedError(Exception):
    """The connection ended where a reply was due."""


def send(wire: Wire, data: bytes) -> None:
    """Send; a server that is gone shows when the reply is read."""
    with contextlib.suppress(BrokenPipeError):
        wire.send(data)


def read(wire: Wire, size: int) -> bytes:
    """Exactly ``size`` bytes, or :class:`EndedError`."""
    try:
        return wire.read(size)
    except AssertionError:
        raise EndedError from None


def put_command(item: Item, verb: bytes, token: int | None = None) -> bytes:
    """The storage command that puts ``item``."""
    body = make_body(item)
    end = b"" if token is None else b" %d" % token
    return b"%s %s %d 0 %d%s\r\n%s\r\n" % (verb, item.queue, make_flags(item), len(body), end, body)


def run(
    logdir: Path,
    rounds: int,
    seed: int,
    report: Callable[[str], None] = lambda line: None,
    promises: tuple[str, ...] = ("yes", "sync"),
) -> Ledger:
    """All rounds, the drain and the judgement.

    :param promises: the values of ``reliable`` to choose from
    :param report: called with a line after each round
    :returns: the ledger; nothing is wrong where it has no ``violations``
    """
    random_ = random.Random(seed)
    ledger = Ledger()
    for number in range(1, rounds + 1):
        reliable, memory = random_.choice(promises), random_.choice(MEMORIES)
        server = ServerProcess(logdir, reliable=reliable, segment_size="64kb", sync_interval="50ms", memory=memory)
        if random_.random() < 0.15:  # a crash in the middle of the recovery
            server.launch()
            time.sleep(random_.uniform(0.05, 0.4))
            server.kill()
        with server:
            work = Work(ledger, server, number, seed)
            threads = work.start()
            # The moment of the kill is what is random here; a number of replies would hit fewer places.
            time.sleep(random_.uniform(0.02, 1.0))
            work.note_compaction()
            work.end()
            if random_.random() < 0.1:
                server.stop()
            else:
                server.kill()
            for thread in threads:
                thread.join()
            if any(word in server.log for word in WORRYING):
                ledger.violations.append(f"round {number}: the server logged {server.log}")
            if work.failures:
                raise work.failures[0]
        report(
            f"round {number} ({reliable}, {memory}): {work.replies} replies; {len(ledger.violations)} violations so far"
        )
        if ledger.violations:
            break
    with ServerProcess(logdir, segment_size="64kb") as server:
        ledger.draining = True
        Work(ledger, server, rounds + 1, seed).drain()
    ledger.judge()
    return ledger


def crash_at_steps(lives: int, seed: int) -> None:
    """Lives on a made-up disk, healthy and failing, without and with sync.

    :raises AssertionError: where a crash leaves what no promise allows; the seed is printed
    """
    logging.disable(logging.CRITICAL)
    for number in range(1000 * seed, 1000 * seed + lives):
        sync, faults = bool(number & 1), FAULTS if number & 2 else ()
        directory = Path(tempfile.mkdtemp(prefix="redqueue-life-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        try:
            live_and_crash(directory, number, sync=sync, faults=faults, share=0.3)
        except BaseException:
            call = f"live_and_crash({number}, sync={sync}, faults={faults})"
            print(f"{call} failed; the files are kept in {directory}", file=sys.stderr)
            raise
        shutil.rmtree(directory)
    logging.disable(logging.NOTSET)
    print(f"{lives} lives with a crash at a third of their steps", flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Kill the server under load, restart it, and check it by a ledger.")
    parser.add_argument("--rounds", type=int, default=20, help="kills (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random choices (default: 1)")
    parser.add_argument(
        "--reliable", choices=("yes", "sync", "both"), default="both", help="what is promised (default: both, by turns)"
    )
    parser.add_argument(
        "--lives",
        type=int,
        default=0,
        help="lives of a server on a made-up disk, with kills and power failures at its steps (default: none)",
    )
    options = parser.parse_args()
    promises = ("yes", "sync") if options.reliable == "both" else (options.reliable,)
    crash_at_steps(options.lives, options.seed)
    directory = Path(tempfile.mkdtemp(prefix="redqueue-crash-"))
    started = time.monotonic()
    try:
        ledger = run(directory / "log", options.rounds, options.seed, lambda line: print(line, flush=True), promises)
    except BaseException:
        print(f"seed {options.seed} failed; the journal is kept in {directory}", file=sys.stderr)
        raise
    print(f"{options.rounds} rounds in {time.monotonic() - started:.0f} s: {ledger.summary()}")
    if ledger.violations:
        for violation in ledger.violations[:50]:
            print(violation, file=sys.stderr)
        print(
            f"seed {options.seed} failed with {len(ledger.violations)} violations; the journal is kept in {directory}",
            file=sys.stderr,
        )
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
