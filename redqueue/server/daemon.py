"""The server as a process: start, timers, signals and the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tornado.ioloop import IOLoop

from redqueue import __version__
from redqueue.config.kinds import BadOption
from redqueue.config.load import load
from redqueue.config.queue_tables import settings_book
from redqueue.engine import subscriptions
from redqueue.engine.broker import Broker
from redqueue.engine.clock import Clock
from redqueue.engine.journal import NullJournal
from redqueue.engine.settings import SettingsBook
from redqueue.journal.fetch import fetch
from redqueue.journal.lock import JournalInUse, Lock
from redqueue.journal.log import Log
from redqueue.journal.recovery import JournalDamaged, Recovery
from redqueue.journal.worker import Worker
from redqueue.options import Options
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.host import Figures
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.server import open_files
from redqueue.server.build import is_compiled
from redqueue.server.connection import Connection, Connections
from redqueue.server.figures import ServerFigures
from redqueue.server.group_commit import GroupCommit
from redqueue.server.local_client import LocalClients
from redqueue.server.sweep import Sweeper
from redqueue.server.tcp import Listeners

log = logging.getLogger("redqueue")

LAST_REPLIES_SECONDS = 5.0
"""How long clients may take, at the end, to read what they have been answered."""
PROGRESS_SECONDS = 1.0
SALVAGE_LOOK_SECONDS = 0.01
MAINTAIN_SECONDS = 1.0
"""How often what has failed is tried again."""


class Server:
    """One RedQueue server.

    :param options: as :func:`redqueue.config.load.load` gives them
    :param book: the settings of the queues, as :func:`redqueue.config.queue_tables.settings_book` gives them
    """

    version = __version__

    def __init__(self, options: Options, book: SettingsBook) -> None:
        self._options = options
        self._book = book
        self._started = time.time()
        self._clock = Clock()
        self._connections = Connections(options.max_connections, options.max_connections_per_address)
        self._listeners = Listeners(self._make_connection, self._connections, options.send_timeout)
        self._lock: Lock | None = None
        self._journal: Log | None = None
        self._ending = False
        self._salvaged = False
        self._ended = asyncio.Event()
        self._timer: object = None

    # -- start ------------------------------------------------------------------

    async def run(self) -> None:
        """Recover, listen, serve, and return once a signal or a client has ended it.

        :raises JournalInUse: another server has the journal
        :raises JournalDamaged: the journal is damaged where no crash explains it
        :raises OSError: a directory cannot be used or a port cannot be bound
        """
        self._loop = IOLoop.current()
        asyncio_loop = asyncio.get_running_loop()
        asyncio_loop.set_exception_handler(self._on_exception)
        self._files = open_files.raise_limit()
        self._connections.most = open_files.most_clients(self._options.max_connections, self._files)
        self._open_broker()
        self._broker.max_queues = self._options.max_queues
        self._service = Service(self._broker, Requests(COMMANDS, self._options.max_item_size), self, CODECS)
        self._commit = GroupCommit(asyncio_loop.call_soon, self._service, self._journal, self._options.max_disk)
        self._local_clients = LocalClients(self._service, self._commit)
        self._figures = ServerFigures(
            self._options,
            self._connections,
            self._service,
            self._commit,
            self._journal,
            self._started,
            self._listeners,
            is_ending=lambda: self._ending,
        )
        await self._leave_damage_behind()
        self._broker.deadlines.on_earlier = self._arm
        if math.isfinite(self._broker.deadlines.armed):
            self._arm(self._broker.deadlines.armed)
        if self._journal is not None and self._options.reliable == "yes" and self._options.sync_interval:
            self._sync_later()
        self._maintain_later()
        self._sweeper = Sweeper(
            self._connections,
            self._options.idle_timeout,
            self._options.command_timeout,
            self._loop.call_later,
            time.monotonic,
        )
        self._sweeper.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio_loop.add_signal_handler(number, self.stop, number)
        try:
            await self._listeners.listen_tcp(self._options.host, self._options.port)
            if self._options.unix_socket:
                await self._listeners.listen_unix(Path(self._options.unix_socket))
        except OSError:
            self._close_journal()
            raise
        settle_garbage_collector()
        log.info("RedQueue %s ready on %s", __version__, self._listeners.addresses[0])
        for address in self._listeners.addresses[1:]:
            log.info("also listening on %s", address)
        log.info("the hot modules are %s", "compiled" if is_compiled() else "plain Python")
        log.info(
            "up to %s clients at a time, with %s open files", self._connections.most or "any number of", self._files
        )
        await self._ended.wait()

    def _open_broker(self) -> None:
        options = self._options
        if options.reliable == "no":
            log.warning("reliable=no: items live in memory only and are gone when the server ends")
            self._broker = Broker(self._book, self._clock, NullJournal(), options.memory)
            return
        directory = Path(options.logdir)
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(directory)
        progress = _Progress()
        started = time.monotonic()
        recovered = Recovery(directory, now=time.time_ns(), salvage=options.salvage, progress=progress).run()
        notify = asyncio.get_running_loop().call_soon_threadsafe
        self._journal = Log(
            directory,
            recovered,
            segment_size=options.segment_size,
            sync=options.reliable == "sync",
            wall_ns=time.time_ns,
            worker=Worker(notify),
            reader=Worker(notify),
        )
        self._broker = Broker(self._book, self._clock, self._journal, options.memory)
        self._broker.last_id = recovered.last_id
        self._broker.restore_names(recovered.names)
        self._clock.tick()
        children = recovered.queues.pop(subscriptions.QUEUE, None)
        if children is not None:
            where = recovered.index.position
            self._broker.restore_subscriptions(fetch(directory, [(i, where(i)) for i in children.ids]))
        for name, queue in recovered.queues.items():
            self._broker.restore(name, queue.ids, queue.heads, queue.bytes, queue.all_fields, queue.mortal)
        self._salvaged = recovered.damaged
        log.info(
            "journal %s: %d items in %d queues from %d records in %d segments, in %.2f s",
            directory,
            self._broker.sum_items(),
            len(self._broker.queues),
            recovered.records,
            len(recovered.index.segments),
            time.monotonic() - started,
        )

    async def _leave_damage_behind(self) -> None:
        """Have all that was salvaged from a damaged journal copied to new segments, and the old ones deleted."""
        journal, compactor = self._journal, self._commit.compactor
        if not self._salvaged or journal is None or compactor is None:
            return
        compactor.begin_anew()
        while compactor.is_due():
            if compactor.failure:
                raise JournalDamaged(f"salvage: {compactor.failure}")
            self._commit.schedule()
            await asyncio.sleep(SALVAGE_LOOK_SECONDS)
        log.warning("salvage: what could be read is in new segments; the next start needs no --salvage")

    # -- connections --------------------------------------------------------------

    def _make_connection(self, origin: str) -> Connection:
        return Connection(self._service, self._commit, self._connections, origin)

    # -- timers -------------------------------------------------------------------

    def _arm(self, when: float) -> None:
        """Set the one timer of the sweeper to the monotonic moment ``when``."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        delay = max(0.0, when - time.monotonic())
        self._timer = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        deadlines = self._broker.deadlines
        deadlines.armed = -math.inf  # set anew below; nothing is earlier meanwhile
        self._clock.tick()
        if deadlines.fire(self._clock.now):
            self._timer = self._loop.call_later(0, self._fire)
            return
        if math.isfinite(deadlines.armed):
            self._arm(deadlines.armed)

    def _sync_later(self) -> None:
        self._loop.call_later(self._options.sync_interval, self._sync)

    def _sync(self) -> None:
        self._commit.sync()
        self._sync_later()

    def _maintain_later(self) -> None:
        self._loop.call_later(MAINTAIN_SECONDS, self._maintain)

    def _maintain(self) -> None:
        self._clock.tick()
        self._commit.maintain()
        self._maintain_later()

    # -- the end --------------------------------------------------------------------

    def stop(self, number: int | None = None) -> None:
        """Stop accepting, answer who waits, write and sync, then let :meth:`run` return; the second time, exit."""
        name = signal.Signals(number).name if number else "shutdown"
        if self._ending:
            log.warning("%s again: exiting at once", name)
            os._exit(1)
        self._ending = True
        log.info("%s: ending", name)
        self._listeners.close()
        self._broker.ending = True
        for connection in self._connections:
            connection.end_input()
        self._local_clients.end()
        self._commit.when_idle(self._close_connections)

    def _close_connections(self) -> None:
        for connection in self._connections:
            connection.close_when_sent()
        self._deadline = time.monotonic() + LAST_REPLIES_SECONDS
        self._await_last_replies()

    def _await_last_replies(self) -> None:
        if len(self._connections) and time.monotonic() < self._deadline:
            self._loop.call_later(0.01, self._await_last_replies)
            return
        for connection in self._connections:
            connection.abort()
        self._loop.add_callback(self._commit.when_idle, self._finish)

    @staticmethod
    def _on_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody caught: in a tick or a timer it ends the server, which could only go on wrongly.

        What was confirmed is in the journal. One on a connection's own way costs that connection.
        """
        loop.default_exception_handler(context)
        if "handle" in context:
            log.critical("a defect in the server, which ends; please report it. The journal has all that was confirmed")
            logging.shutdown()
            os._exit(1)

    def _finish(self) -> None:
        self._commit.end()
        self._close_journal()
        log.info("ended; %d items are kept", 0 if self._journal is None else self._broker.sum_items())
        self._ended.set()

    def _close_journal(self) -> None:
        if self._journal is not None:
            if self._broker.failure:
                self._journal.abandon()
            else:
                self._journal.close()
        if self._lock is not None:
            self._lock.release()

    # -- for the sessions (redqueue.protocol.host.Host) --------------------------------

    def process_stats(self) -> Figures:
        """Figures of the process."""
        return self._figures.process()

    def setting_stats(self) -> Figures:
        """The options in force."""
        return self._figures.settings()

    def connection_stats(self) -> Figures:
        """A few figures for each connection."""
        return self._figures.of_connections()

    def reset_stats(self) -> None:
        """Count from zero."""
        self._figures.reset()

    def set_verbosity(self, level: int) -> None:
        """Log more or less."""
        set_verbosity(level > 0)

    def shut_down(self) -> bool:
        """End the server; False where clients may not."""
        if not self._options.enable_shutdown:
            return False
        self._loop.add_callback(self.stop)
        return True


class _Progress:
    """Logs how far the replay is, each second."""

    def __init__(self) -> None:
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            log.info("replaying the journal: %d of %d MB (%d %%)", done >> 20, total >> 20, 100 * done // max(1, total))


def settle_garbage_collector() -> None:
    """Take what the start has made out of the collector's sight, and have it look rarely at the rest.

    Items are plain bytes, which it does not track; what it would find is few
    and short-lived, and a full pass over a long queue is a pause for everybody.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def set_verbosity(verbose: bool) -> None:
    """Log everything, or only what an operator must know."""
    logging.getLogger("redqueue").setLevel(logging.DEBUG if verbose else logging.INFO)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon.

    :param arguments: the command line, without the program's name
    :returns: the exit status: 0 after a clean end, 1 when the server could not
        start, 2 for a bad option
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        options = load(sys.argv[1:] if arguments is None else arguments)
        book = settings_book(options)
    except BadOption as error:
        print(f"redqueue_server.py: {error}", file=sys.stderr)
        return 2
    set_verbosity(options.verbose)
    try:
        _run(options, book)
    except (JournalInUse, JournalDamaged) as error:
        log.critical("%s", error)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else f"{options.host}:{options.port}: "
        log.critical("cannot start: %s%s", where, error.strerror or error)
        return 1
    return 0


def _run(options: Options, book: SettingsBook) -> None:
    async def serve() -> None:
        await Server(options, book).run()

    try:
        import uvloop
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())
