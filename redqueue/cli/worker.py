"""``redqueue take --exec``: a command for each item, several at a time, that outlives the server's absence."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from redqueue.cli.command import GOOD, PARTLY, CommandFailed
from redqueue.cli.connection import Connection, ConnectionLost
from redqueue.cli.item import Item
from redqueue.cli.notation import count
from redqueue.cli.reservations import SLICE_SECONDS, Reservations
from redqueue.cli.server_options import Server

MOST_BACKOFF = 3600
RECONNECT_SECONDS = 0.1
MOST_RECONNECT_SECONDS = 5.0


def run(options: argparse.Namespace, queue: bytes) -> int:
    """Work until the end; returns the exit status."""
    if options.reserve < 1:
        raise CommandFailed("--reserve wants at least a second")
    server = Server(options)
    server.connect().close()  # which fails at once where something is wrong, and asks for the password
    crew = _Crew(options, queue, server)
    with _signals_end(crew):
        crew.work()
    if crew.failure is not None:
        raise crew.failure
    if crew.is_ending:
        return GOOD
    wanted = options.count or (1 if options.all else 0)
    return GOOD if crew.failed == 0 and crew.done >= wanted else PARTLY


@contextlib.contextmanager
def _signals_end(crew: _Crew) -> Iterator[None]:
    before = {number: signal.signal(number, crew.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Crew:
    """The workers of one command line, and what they share.

    :ivar done: items whose command has exited with 0, and that are acknowledged
    :ivar failed: runs that ended otherwise
    :ivar failure: what no worker can go on after
    """

    def __init__(self, options: argparse.Namespace, queue: bytes, server: Server) -> None:
        self.options = options
        self.queue = queue
        self.server = server
        self.seconds = math.ceil(options.reserve)
        self.backoff = options.backoff
        self.wait = options.wait
        if self.wait is None:
            self.wait = 0.0 if options.all else math.inf
        self.done = 0
        self.failed = 0
        self.failure: CommandFailed | None = None
        self._left: float = options.count or math.inf
        self._lock = threading.Lock()
        self.end = threading.Event()
        self.is_ending = False
        self.is_hurried = False
        self._workers = [_Worker(self, number) for number in range(options.jobs)]

    def work(self) -> None:
        """Have all work until there is nothing more to do."""
        for worker in self._workers:
            worker.start()
        for worker in self._workers:
            while worker.is_alive():
                worker.join(1.0)  # signals are heard in between

    def on_signal(self, number: int, frame: object) -> None:
        """The first signal ends the taking, the second one the commands."""
        if self.is_ending:
            self.is_hurried = True
            for worker in self._workers:
                worker.end_command()
        self.is_ending = True
        self.end.set()

    def claim(self) -> bool:
        """Whether one more item may be taken; whoever finds none hands the claim back."""
        with self._lock:
            if self._left <= 0 or self.end.is_set():
                return False
            self._left -= 1
            return True

    def unclaim(self) -> None:
        """Nothing was found."""
        with self._lock:
            self._left += 1

    def count(self, is_done: bool) -> None:
        """One more is done, or has failed."""
        with self._lock:
            self.done += is_done
            self.failed += not is_done

    def fail(self, failure: CommandFailed) -> None:
        """Nobody can go on."""
        self.failure = failure
        self.end.set()

    def say(self, text: str) -> None:
        """A line on standard error."""
        with self._lock:
            print(f"redqueue: {text}", file=sys.stderr, flush=True)


class _Worker(threading.Thread):
    """One connection, and one command at a time."""

    def __init__(self, crew: _Crew, number: int) -> None:
        super().__init__(daemon=True)
        self._crew = crew
        self._number = number
        self._connection: Connection | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        crew = self._crew
        try:
            while crew.claim():
                try:
                    item = self._take()
                except ConnectionLost as error:
                    crew.unclaim()
                    self._lose(error)
                    continue
                if item is None:
                    crew.unclaim()
                    return
                self._carry_out(item)
        except CommandFailed as error:
            crew.fail(error)
        except OSError as error:
            crew.fail(CommandFailed(str(error)))
        finally:
            if self._connection is not None:
                self._connection.close()

    # -- the connection -------------------------------------------------------

    def _reservations(self) -> Reservations:
        """On the connection that there is, or on a new one, for which it waits as long as need be."""
        pause = RECONNECT_SECONDS
        while self._connection is None:
            try:
                self._connection = self._crew.server.connect()
            except ConnectionLost as error:
                if self._number == 0 and pause == RECONNECT_SECONDS:
                    self._crew.say(f"{error}; trying again")
                if self._crew.end.wait(pause):
                    raise
                pause = min(2 * pause, MOST_RECONNECT_SECONDS)
        return Reservations(self._connection, self._crew.queue, self._crew.seconds)

    def _lose(self, error: ConnectionLost) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            if not self._crew.end.is_set():
                self._crew.say(str(error))

    def _take(self) -> Item | None:
        """The next item; None where there is none in time, or the end has come."""
        crew = self._crew
        deadline = time.monotonic() + crew.wait
        while True:
            left = max(0.0, deadline - time.monotonic())
            item = self._reservations().take(min(left, SLICE_SECONDS))
            if item is not None and crew.end.is_set():
                self._reservations().give_back(item)
                return None
            if item is not None or left <= SLICE_SECONDS or crew.end.is_set():
                return item

    # -- the command ----------------------------------------------------------

    def _carry_out(self, item: Item) -> None:
        """Run the command for an item, and end its reservation by what came of it."""
        status = self._run_command(item)
        crew = self._crew
        try:
            if status == 0:
                if self._reservations().acknowledge(item):
                    crew.count(True)
                else:
                    crew.count(False)
                    crew.say(f"item {item.item_id} is done, and will be delivered again: its reservation was lost")
                return
            crew.count(False)
            self._put_aside(item, status)
        except ConnectionLost as error:
            if status == 0:
                crew.count(False)
                crew.say(f"item {item.item_id} is done, and may be delivered again: {error}")
            self._lose(error)

    def _put_aside(self, item: Item, status: int) -> None:
        crew = self._crew
        what = f"item {item.item_id}: " + (f"exit status {status}" if status > 0 else f"ended by signal {-status}")
        if crew.is_hurried:
            self._reservations().give_back(item)
            crew.say(f"{what}, given back")
            return
        is_hopeless = crew.options.tries is not None and item.deliveries >= crew.options.tries
        if is_hopeless and self._reservations().set_aside(item):
            crew.say(f"{what}, delivered {count(item.deliveries, 'time')}, now a dead letter")
            return
        delay = min(MOST_BACKOFF, math.ceil(crew.backoff * 2 ** min(item.deliveries - 1, 30)))
        kept = self._reservations().give_back(item, delay)
        crew.say(f"{what}, again in {delay} s" if kept else f"{what}; its reservation was lost")

    def _run_command(self, item: Item) -> int:
        """The command's exit status."""
        environment = {
            **os.environ,
            "REDQUEUE_QUEUE": os.fsdecode(item.queue),
            "REDQUEUE_ID": str(item.item_id),
            "REDQUEUE_TOKEN": str(item.token),
            "REDQUEUE_DELIVERIES": str(item.deliveries),
            "REDQUEUE_FLAGS": str(item.flags),
        }
        process = self._process = subprocess.Popen(
            ["/bin/sh", "-c", self._crew.options.command],
            stdin=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is for the worker, which lets the command finish
        )
        if self._crew.is_hurried:
            self.end_command()
        over = threading.Event()
        keeper = threading.Thread(target=self._keep_alive, args=(item, over), daemon=True)
        keeper.start()
        try:
            process.communicate(item.payload)
        finally:
            self._process = None
            over.set()
            keeper.join()
        return process.returncode

    def _keep_alive(self, item: Item, over: threading.Event) -> None:
        """Touch the reservation until the command is over; nobody else uses the connection meanwhile."""
        while not over.wait(self._crew.seconds / 3):
            try:
                if not self._reservations_now().touch(item):
                    self._crew.say(f"the reservation of item {item.item_id} was lost while its command runs")
                    return
            except CommandFailed as error:
                if isinstance(error, ConnectionLost):
                    self._lose(error)
                return

    def _reservations_now(self) -> Reservations:
        assert self._connection is not None
        self._connection.wait_longer(0)
        return Reservations(self._connection, self._crew.queue, self._crew.seconds)

    def end_command(self) -> None:
        """End the command that runs."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
