"""The server as a process: start, timers, signals and the end."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tornado.ioloop import IOLoop

from redqueue import __version__
from redqueue.config.command_line import CHECK, PRINT
from redqueue.config.configuration import Configuration
from redqueue.config.kinds import BadOption
from redqueue.config.load import Sources
from redqueue.config.written import in_force
from redqueue.engine import resettings, subscriptions
from redqueue.engine.broker import Broker
from redqueue.engine.clock import Clock
from redqueue.engine.journal import NullJournal
from redqueue.journal.fetch import fetch
from redqueue.journal.lock import JournalInUse, Lock
from redqueue.journal.log import Log
from redqueue.journal.recovery import JournalDamaged, Recovery
from redqueue.journal.worker import Worker
from redqueue.options import NO_PORT
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.host import Figures
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.server import exposure, open_files
from redqueue.server.access import ACCESS_OPTIONS, Access
from redqueue.server.account import NotWritable
from redqueue.server.build import is_compiled
from redqueue.server.checks import check
from redqueue.server.connection import Connection, Connections
from redqueue.server.figures import ServerFigures
from redqueue.server.group_commit import GroupCommit
from redqueue.server.health import Health
from redqueue.server.launch import Launch
from redqueue.server.local_client import LocalClients
from redqueue.server.logs import Logs
from redqueue.server.pid_file import BadPidFile
from redqueue.server.reload import Reload
from redqueue.server.start_signals import StartSignals
from redqueue.server.sweep import Sweeper
from redqueue.server.tcp import Listeners
from redqueue.server.tls import TLS_OPTIONS, Certificates
from redqueue.server.watch import Watch
from redqueue.server.web.application import WebServer
from redqueue.server.web.site import Engine, Site

log = logging.getLogger("redqueue")
T = TypeVar("T")

LAST_REPLIES_SECONDS = 5.0
"""How long clients may take, at the end, to read what they have been answered."""
PROGRESS_SECONDS = 1.0
SALVAGE_LOOK_SECONDS = 0.01
MAINTAIN_SECONDS = 1.0
"""How often what has failed is tried again."""


class Server:
    """One RedQueue server.

    :param sources: where the configuration comes from, to be read again
    :param configuration: the options, and the settings of the queues
    :param logs: where the log goes
    :param launch: who has started it, and how
    """

    version = __version__

    def __init__(self, sources: Sources, configuration: Configuration, logs: Logs, launch: Launch) -> None:
        self._options = options = configuration.options
        self._book = configuration.book
        self._logs = logs
        self._launch = launch
        self.reload = Reload(sources, configuration, self._put_in_force)
        self.reload.add(logs.prepare, ("log_level", "log_format", "log_file", "verbose"))
        self.reload.on_begin, self.reload.on_end = launch.notifier.reloading, launch.notifier.ready
        self._started = time.time()
        self._clock = Clock()
        self._connections = Connections(options.max_connections, options.max_connections_per_address)
        self._listeners = Listeners(
            self._make_connection, self._connections, options.send_timeout, options.auth_timeout
        )
        self._health = Health()
        self._web = WebServer(Site(options, self._health))
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
        :raises NotWritable: the user to run as cannot write the journal
        :raises OSError: a directory cannot be used or a port cannot be bound
        :raises CancelledError: a signal has ended the start
        """
        self._loop = IOLoop.current()
        asyncio_loop = asyncio.get_running_loop()
        asyncio_loop.set_exception_handler(self._on_exception)
        signals = StartSignals()
        self._files = open_files.raise_limit()
        self._connections.most = open_files.most_clients(self._options.max_connections, self._files)
        self.access = Access(self._options, asyncio_loop)
        self.reload.add(self.access.prepare, ACCESS_OPTIONS)
        self.certificates = Certificates(self._options)
        self.reload.add(self.certificates.prepare, TLS_OPTIONS)
        self._lock_journal()
        self._bind()
        self._launch.become_user()
        self._web.listen(self.access.authenticator, self.certificates)
        await self._open_broker()
        self._broker.max_queues = self._options.max_queues
        self._service = Service(self._broker, Requests(COMMANDS, self._options.max_item_size), self, CODECS)
        self._commit = GroupCommit(asyncio_loop.call_soon, self._service, self._journal, self._options.max_disk)
        self._local_clients = LocalClients(self._service, self._commit)
        self.access.guard(self._service, self._connections)
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
        self._health.watch(self._broker, self._commit)
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
        signals.hand_over(
            {
                signal.SIGTERM: partial(self.stop, signal.SIGTERM),
                signal.SIGINT: partial(self.stop, signal.SIGINT),
                signal.SIGHUP: self._begin_reload,
                signal.SIGUSR1: self._toggle_drain,
            }
        )
        try:
            self._listeners.listen()
        except OSError:
            self._close_journal()
            raise
        settle_garbage_collector()
        self._health.phase = ""
        self.reload.start()
        self._web.serve(Engine(self._figures, self._local_clients, self._health))
        log.info("RedQueue %s ready on %s", __version__, self._listeners.addresses[0])
        for address in self._listeners.addresses[1:]:
            log.info("also listening on %s", address)
        for address in self._listeners.encrypted:
            log.info("TLS is spoken on %s", address)
        if self._web.address:
            log.info("the web page is on %s", self._web.address)
        self._warn_of_exposure()
        log.info("the hot modules are %s", "compiled" if is_compiled() else "plain Python")
        log.info(
            "up to %s clients at a time, with %s open files", self._connections.most or "any number of", self._files
        )
        Watch(self._launch.notifier, self._figures).start()
        self._launch.ready()
        await self._ended.wait()

    def _warn_of_exposure(self) -> None:
        addresses, encrypted = [*self._listeners.addresses], [*self._listeners.encrypted]
        if self._web.address:
            addresses.append(self._web.address)
            if self.certificates.context is not None:
                encrypted.append(self._web.address)
        for warning in exposure.warnings(self._options, addresses, encrypted):
            log.warning("%s", warning)

    def _lock_journal(self) -> None:
        if self._options.reliable != "no":
            self._lock = Lock(self._launch.make_journal_directory())

    def _bind(self) -> None:
        """Take the addresses, which may be possible as root only; no client is let in yet."""
        options, passed = self._options, self._launch.sockets
        tls = self.certificates if self.certificates.context is not None else None
        if passed.queues or passed.encrypted:
            self._listeners.adopt(passed.queues, None if options.tls_port or passed.encrypted else tls)
            self._listeners.adopt(passed.encrypted, self.certificates)
        else:
            self._listeners.bind_tcp(options.host, options.port, None if options.tls_port else tls)
            if options.tls_port:
                self._listeners.bind_tcp(options.host, options.tls_port, tls)
            if options.unix_socket:
                self._listeners.bind_unix(Path(options.unix_socket))
        if passed.web:
            self._web.adopt(passed.web)
        elif options.http_port != NO_PORT:
            self._web.bind()

    async def _open_broker(self) -> None:
        options = self._options
        if options.reliable == "no":
            log.warning("reliable=no: items live in memory only and are gone when the server ends")
            self._broker = Broker(self._book, self._clock, NullJournal(), options.memory)
            return
        directory = Path(options.logdir)
        started = time.monotonic()
        notify = asyncio.get_running_loop().call_soon_threadsafe
        worker, reader = Worker(notify), Worker(notify)
        progress = _Progress(self._health, self._launch)
        recovery = Recovery(directory, now=time.time_ns(), salvage=options.salvage, progress=progress)
        recovered = await _run_in(worker, recovery.run)
        self._journal = Log(
            directory,
            recovered,
            segment_size=options.segment_size,
            sync=options.reliable == "sync",
            wall_ns=time.time_ns,
            worker=worker,
            reader=reader,
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
            self._launch.starting("salvage: copying what could be read")
            await asyncio.sleep(SALVAGE_LOOK_SECONDS)
        log.warning("salvage: what could be read is in new segments; the next start needs no --salvage")

    # -- connections --------------------------------------------------------------

    def _make_connection(self, origin: str) -> Connection:
        return Connection(self._service, self._commit, self._connections, origin)

    # -- new settings ---------------------------------------------------------------

    def _begin_reload(self) -> None:
        if self._health.phase:
            log.warning("SIGHUP: not yet, the server is %s; what it has read is new enough", self._health.phase)
        elif not self._ending:
            log.info("SIGHUP: reading the configuration again")
            self.reload.begin()

    def _put_in_force(self, configuration: Configuration) -> Iterator[None]:
        self._options = self._figures.options = configuration.options
        return resettings.put_in_force(self._broker, configuration.book)

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
        self._maintenance_due = time.monotonic() + MAINTAIN_SECONDS
        self._loop.call_later(MAINTAIN_SECONDS, self._maintain)

    def _maintain(self) -> None:
        self._figures.loop_lag.observe(max(0.0, time.monotonic() - self._maintenance_due))
        self._clock.tick()
        self._commit.maintain()
        self._maintain_later()

    # -- draining -------------------------------------------------------------------

    def drain(self, on: bool) -> None:
        """Take no new items while ``on``, before the server is to end; what else goes on is in :meth:`Broker.drain`."""
        self._broker.drain(on)
        if on:
            log.warning("draining: no new items are taken; %d are left", self._broker.sum_items())
        else:
            log.warning("the drain has ended: new items are taken")

    def _toggle_drain(self) -> None:
        self.drain(not self._broker.draining)

    # -- the end --------------------------------------------------------------------

    def stop(self, number: int | None = None) -> None:
        """Stop accepting, answer who waits, write and sync, then let :meth:`run` return; the second time, exit."""
        name = signal.Signals(number).name if number else "shutdown"
        if self._ending:
            log.warning("%s again: exiting at once", name)
            self._logs.flush()
            os._exit(1)
        self._ending = True
        log.info("%s: ending", name)
        self._launch.notifier.stopping()
        self._health.phase = "ending"
        self._listeners.close()
        self._web.close()
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
        transport, error = context.get("transport"), context.get("exception")
        peer = transport.get_extra_info("peername") if transport is not None else None
        fields = {"peer": f"{peer[0]}:{peer[1]}"} if isinstance(peer, tuple) else {}
        exc_info = (type(error), error, error.__traceback__) if error is not None else None
        log.error("%s", context["message"], exc_info=exc_info, extra={"fields": fields})
        if "handle" in context:
            log.critical("a defect in the server, which ends; please report it. The journal has all that was confirmed")
            logging.shutdown()
            os._exit(1)

    def _finish(self) -> None:
        self._commit.end()
        self.access.close()
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
        self._logs.set_verbose(level > 0)

    def shut_down(self) -> bool:
        """End the server; False where clients may not."""
        if not self._options.enable_shutdown:
            return False
        self._loop.add_callback(self.stop)
        return True


async def _run_in(worker: Worker, job: Callable[[], T]) -> T:
    """Have a thread do ``job``, while the loop goes on; returns what it returns, raises what it raises."""
    finished: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    results: list[T] = []

    def done(error: BaseException | None) -> None:
        if finished.cancelled():
            return
        if error is None:
            finished.set_result(results[0])
        else:
            finished.set_exception(error)

    worker.submit(lambda: results.append(job()), done)
    return await finished


class _Progress:
    """Tells how far the replay is, each second."""

    def __init__(self, health: Health, launch: Launch) -> None:
        self._health = health
        self._launch = launch
        self._next = time.monotonic() + PROGRESS_SECONDS
        launch.starting("replaying the journal")

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        self._health.replaying(done, total)
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            percent = 100 * done // max(1, total)
            log.info("replaying the journal: %d of %d MB (%d %%)", done >> 20, total >> 20, percent)
            self._launch.starting(f"replaying the journal: {percent} %")


def settle_garbage_collector() -> None:
    """Take what the start has made out of the collector's sight, and have it look rarely at the rest.

    Items are plain bytes, which it does not track; what it would find is few
    and short-lived, and a full pass over a long queue is a pause for everybody.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon.

    :param arguments: the command line, without the program's name
    :returns: the exit status: 0 after a clean end, 1 when the server could not
        start, 2 for a bad option
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it asks for is about to be done anyway
    logs = Logs()
    logs.install()
    try:
        sources = Sources(sys.argv[1:] if arguments is None else arguments)
        configuration = sources.load()
        if sources.action == PRINT:
            print(in_force(configuration), end="")
            return 0
        check(configuration)
        if sources.action == CHECK:
            print("OK")
            return 0
        options = configuration.options
        launch = Launch(options)
        launch.detach()
        logs.prepare(options)()
    except BadOption as error:
        for line in str(error).splitlines():
            print(f"redqueue_server.py: {line}", file=sys.stderr)
        return 2
    logs.start()
    faulthandler.enable()  # a watchdog ends a server that is blocked with SIGABRT: let its log say where
    try:
        launch.claim()
        _run(Server(sources, configuration, logs, launch))
    except (BadOption, BadPidFile, JournalInUse, JournalDamaged, NotWritable) as error:
        log.critical("%s", error)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        log.critical("cannot start: %s%s", where, error.strerror or error)
        return 1
    except asyncio.CancelledError:
        pass  # a signal has ended the start
    except Exception:
        log.critical("a defect in the server, which ends; please report it", exc_info=True)
        return 1
    finally:
        launch.release()
        logs.close()
    return 0


def _run(server: Server) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(server.run())
    else:
        uvloop.run(server.run())
