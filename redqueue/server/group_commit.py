"""One tick of the server: a frame of the journal for all that has arrived, then the replies.

Connections report here when they have been served. Once a tick the records of
all of them go to the journal as one frame; when that is written (and synced,
with ``reliable=sync``) the broker makes the changes visible and the replies
leave. While the journal's worker is busy everything collects for the next frame.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from redqueue.engine.ledger import Batch
from redqueue.journal.log import Log
from redqueue.protocol.service import NO_LIMIT, Service
from redqueue.protocol.session import deny

log = logging.getLogger(__name__)

MAX_UNWRITTEN = 64 << 20
"""Bytes received while the journal is busy above which clients are no longer read."""


class Client(Protocol):
    """A connection, as the group commit sees it."""

    def hold_output(self) -> None:
        """The replies so far belong to the frame that is being written."""

    def release_output(self) -> int:
        """Send the replies that were held; returns their bytes."""

    def send_output(self) -> int:
        """Send all replies and go on with what was stalled; returns their bytes."""

    def resume_input(self) -> None:
        """Read on."""

    def abort(self) -> None:
        """Close the connection at once."""


class GroupCommit:
    """Joins the broker, the journal and the connections.

    :param call_soon: runs a function in the next turn of the loop
    :param service: the sessions
    :param journal: None where nothing is kept (``reliable=no``)

    :ivar bytes_written: bytes sent to all clients
    """

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], object], service: Service, journal: Log | None
    ) -> None:
        self._call_soon = call_soon
        self._service = service
        self._broker = service.broker
        self._journal = journal
        self._served = cast(list[Client], service.served)
        self._paused: list[Client] = []
        self._scheduled = False
        self._on_idle: Callable[[], None] | None = None
        self.bytes_written = 0
        service.schedule = self.schedule
        service.broker.on_append = self.schedule

    def schedule(self) -> None:
        """Something waits for the next tick."""
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._tick)

    def resume_later(self, client: Client) -> None:
        """Have ``client`` read on once the journal has caught up."""
        self._paused.append(client)

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` once nothing waits for the journal."""
        self._on_idle = then
        self.schedule()

    def sync(self) -> None:
        """Have what is written synced, unless the journal is busy or has nothing new."""
        journal = self._journal
        if journal is not None and journal.needs_sync and not journal.busy and not self._broker.failure:
            self._service.read_limit = self._service.bytes_read + MAX_UNWRITTEN
            journal.start_sync(self._synced)

    # -- one tick -------------------------------------------------------------

    def _tick(self) -> None:
        self._scheduled = False
        journal = self._journal
        broker = self._broker
        if journal is None:
            if broker.has_changes():
                broker.commit(broker.seal())
        elif journal.busy:
            return
        elif journal.pending:
            batch = broker.seal()
            try:
                written = journal.write()
            except Exception as error:
                self._fail(batch, error)
            else:
                if not written:
                    self._start(journal, batch)
                    return
                broker.commit(batch)
        sent = 0
        for client in self._take_served():
            try:
                sent += client.send_output()
            except Exception:
                log.exception("a connection failed while its replies were sent")
                client.abort()
        self.bytes_written += sent
        if self._on_idle is not None and not self._scheduled:
            then, self._on_idle = self._on_idle, None
            then()

    def _take_served(self) -> list[Client]:
        """Those who have been served since the last time; the list itself is the sessions', and stays."""
        clients = self._served.copy()
        self._served.clear()
        return clients

    def _start(self, journal: Log, batch: Batch) -> None:
        clients = self._take_served()
        for client in clients:
            client.hold_output()
        self._service.read_limit = self._service.bytes_read + MAX_UNWRITTEN
        journal.start(partial(self._finish, batch, clients))

    def _finish(self, batch: Batch, clients: list[Client], error: BaseException | None) -> None:
        self._broker.clock.tick()
        if error is None:
            self._broker.commit(batch)
        else:
            self._fail(batch, error)
        for client in clients:
            try:
                self.bytes_written += client.release_output()
            except Exception:
                log.exception("a connection failed while its replies were sent")
                client.abort()
        self._go_on()

    def _synced(self, error: BaseException | None) -> None:
        if error is not None:
            self._fail_for_good(error)
        self._go_on()

    def _go_on(self) -> None:
        self._service.read_limit = NO_LIMIT
        paused, self._paused = self._paused, []
        for client in paused:
            client.resume_input()
        self._tick()

    # -- failures ---------------------------------------------------------------

    def _fail(self, batch: Batch, error: BaseException) -> None:
        """The frame of ``batch`` could not be written: nothing of it has happened, and all of it is answered so."""
        for receipt in self._broker.rollback(batch):
            deny(receipt)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error("the journal's disk is full (%s); requests that write are refused until there is room", error)
        else:
            self._fail_for_good(error)

    def _fail_for_good(self, error: BaseException) -> None:
        if not self._broker.failure:
            self._broker.fail(f"the journal could not be written: {error}")
            log.critical(
                "the journal could not be written: %s. Nothing is accepted any more; what was confirmed before is "
                "on the disk as far as it keeps it. Check the disk, then start the server again",
                error,
            )
