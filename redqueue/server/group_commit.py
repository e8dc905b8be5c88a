"""One tick of the server: a frame of the journal for all that has arrived, then the replies.

Connections report here when they have been served. Once a tick the records of
all of them go to the journal as one frame; when that is written (and synced,
with ``reliable=sync``) the broker makes the changes visible and the replies
leave. While the journal's worker is busy everything collects for the next frame.
"""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Protocol, cast

from redqueue.engine.ledger import Batch
from redqueue.journal.compaction import Compactor
from redqueue.journal.failed import DiskFull
from redqueue.journal.log import Log
from redqueue.protocol.service import NO_LIMIT, TURN_LINES_ALONE, Service
from redqueue.protocol.session import Session, deny

log = logging.getLogger(__name__)

LONGEST_PAUSE: Final = 30.0
"""Seconds between two attempts to go on after the journal has failed, at the most."""
QUIET_SECONDS: Final = 60.0
"""How long the log says nothing of ``max_disk`` after it has said something."""
TURNS: Final = 2
"""Sessions with much to ask that go on in a tick while there are others."""
TURN_LINES: Final = 32
"""Lines of each of them, which take some 30 microseconds."""
TURNS_ALONE: Final = 16
"""Sessions with much to ask that go on in a tick while all are such."""
OTHERS_SECONDS: Final = 1.0
"""How long after the last request of others it is taken that there are such."""
MAX_UNWRITTEN: Final = 64 << 20
"""Bytes received while the journal is busy above which clients are no longer read."""


class Client(Protocol):
    """A connection, as the group commit sees it."""

    session: Session

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
    :param max_disk: bytes that the journal may take on disk; 0 for no limit

    :ivar compactor: keeps the journal small; None where there is none
    :ivar bytes_written: bytes sent to all clients
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        service: Service,
        journal: Log | None,
        max_disk: int = 0,
    ) -> None:
        self._call_soon = call_soon
        self._service = service
        self._broker = service.broker
        self._journal = journal
        self._served = cast(list[Client], service.served)
        self._turns = cast("deque[Session]", service.turns)
        self._others_until = 0.0
        self._paused: list[Client] = []
        self._scheduled = False
        self._on_idle: Callable[[], None] | None = None
        self._next_attempt = 0.0
        self._attempts = 0
        self._quiet_until = 0.0
        self._has_complained = False
        self.max_disk = max_disk
        self.compactor = None if journal is None else Compactor(journal, self.schedule)
        self.bytes_written = 0
        service.schedule = self.schedule
        service.broker.on_append = self.schedule
        self._look_at_size()

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

    def end(self) -> None:
        """The journal is about to be closed: nothing reaches it any more, not even what it has read to be copied."""
        self._journal = None

    def sync(self) -> None:
        """Have what is written synced, unless the journal is busy or has nothing new."""
        journal = self._journal
        if journal is not None and journal.needs_sync and not journal.busy and not self._broker.failure:
            self._limit_input()
            journal.start_sync(self._synced)

    def maintain(self) -> None:
        """Try again what has failed before: called about each second."""
        journal = self._journal
        if journal is None or journal.busy:
            return
        assert self.compactor is not None
        self.compactor.resume()
        self._look_at_size()
        if self._broker.failure:
            if self._broker.clock.now >= self._next_attempt:
                self._limit_input()
                journal.start_moving_on(self._moved_on)
        elif self._broker.shortage:
            self._limit_input()
            journal.start_segment(self._looked_for_space)
        else:
            self.schedule()
            journal.look(self._missing)

    # -- one tick -------------------------------------------------------------

    def _tick(self) -> None:
        self._scheduled = False
        self._write_and_send()
        if self._turns:
            self._take_turns()

    def _take_turns(self) -> None:
        """Let a few of those go on who have more to ask than is done at once: all others have their answers now."""
        if self._service.bytes_read > self._service.read_limit:
            return  # before the journal has caught up
        now = self._broker.clock.now
        are_others = now < self._others_until
        self._service.turn_lines = TURN_LINES if are_others else TURN_LINES_ALONE
        for _ in range(min(len(self._turns), TURNS if are_others else TURNS_ALONE)):
            session = self._turns.popleft()
            try:
                session.take_turn()
            except Exception:
                log.exception("a connection failed while it had its turn")
                session.drop()
        if self._turns:
            self.schedule()

    def _write_and_send(self) -> None:
        journal = self._journal
        broker = self._broker
        if journal is None:
            if broker.has_changes():
                broker.commit(broker.seal())
        elif journal.busy:
            return
        elif broker.failure:
            journal.discard()
            if broker.has_changes():
                self._deny(broker.rollback(broker.seal()))
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
        clients = self._take_served()
        if self._turns and not all(client.session.awaits_turn for client in clients):
            self._others_until = broker.clock.now + OTHERS_SECONDS
        for client in clients:
            try:
                sent += client.send_output()
            except Exception:
                log.exception("a connection failed while its replies were sent")
                client.abort()
        self.bytes_written += sent
        if journal is not None and journal.is_untidy:
            self._tidy_up(journal)
        if self._on_idle is not None and not self._scheduled and not self._turns:
            then, self._on_idle = self._on_idle, None
            then()

    def _tidy_up(self, journal: Log) -> None:
        """Do a bounded piece of what the journal has left over."""
        assert self.compactor is not None
        if journal.tend() or self.compactor.step():
            self.schedule()
        if journal.has_dead() and not self._broker.failure:
            if journal.needs_sync:
                self.sync()
            else:
                journal.remove_dead()
        self._look_at_size()

    def _limit_input(self) -> None:
        """While the journal is busy clients are read only so far."""
        self._service.read_limit = self._service.bytes_read + MAX_UNWRITTEN

    def _take_served(self) -> list[Client]:
        """Those who have been served since the last time; the list itself is the sessions', and stays."""
        clients = self._served.copy()
        self._served.clear()
        return clients

    def _start(self, journal: Log, batch: Batch) -> None:
        clients = self._take_served()
        for client in clients:
            client.hold_output()
        self._limit_input()
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

    def _look_at_size(self) -> None:
        """Take no new items while another segment would be more than ``max_disk``: called when there may be another.

        The last segment that is allowed has just begun then: acknowledgements and compaction have all its room.
        """
        journal, broker = self._journal, self._broker
        if journal is None or not (self.max_disk or broker.over_limit):
            return
        is_over = bool(self.max_disk) and journal.disk_bytes() + journal.segment_size > self.max_disk
        if is_over == bool(broker.over_limit):
            return
        broker.limit_space(f"the journal has the size that max_disk={self.max_disk} allows" if is_over else "")
        now = broker.clock.now
        if is_over and now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            self._has_complained = True
            log.warning(
                "%s: new items are refused until there is room; gets and acknowledgements go on", broker.over_limit
            )
        elif not is_over and self._has_complained:
            self._has_complained = False
            log.warning("the journal is smaller than max_disk=%d again: new items are accepted", self.max_disk)

    def _go_on(self) -> None:
        self._service.read_limit = NO_LIMIT
        self._look_at_size()
        paused, self._paused = self._paused, []
        for client in paused:
            client.resume_input()
        self._tick()

    # -- failures ---------------------------------------------------------------

    def _fail(self, batch: Batch, error: BaseException) -> None:
        """The frame of ``batch`` could not be written: nothing of it has happened, and all of it is answered so.

        Where only the space was missing its acknowledgements may have been written.
        """
        if isinstance(error, DiskFull):
            self._deny(self._broker.rollback(batch, acks_kept=error.acks_written))
            self._lack_space(error)
        else:
            self._deny(self._broker.rollback(batch))
            self._fail_for_good(error)

    @staticmethod
    def _deny(receipts: Iterable[Any]) -> None:
        for receipt in receipts:
            deny(receipt)

    def _lack_space(self, error: BaseException) -> None:
        if not self._broker.shortage:
            log.error(
                "the journal's disk is full (%s): new items are refused until there is room; acknowledgements go on",
                error,
            )
        self._broker.lack_space(f"the journal's disk is full: {error}")
        if self.compactor is not None:
            self.compactor.rest()

    def _looked_for_space(self, error: BaseException | None) -> None:
        self._broker.clock.tick()
        if error is None:
            self._broker.lack_space("")
            log.warning("the journal's disk has room again: new items are accepted")
        elif not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            self._fail_for_good(error)
        self._go_on()

    def _fail_for_good(self, error: BaseException) -> None:
        if not self._broker.failure:
            log.critical(
                "the journal could not be written: %s. Nothing is accepted until it goes on in a new file, which is "
                "tried again and again. What was confirmed is safe as far as the disk keeps it. Check the disk",
                error,
            )
        self._broker.fail(f"the journal could not be written: {error}")
        self._attempts += 1
        self._next_attempt = self._broker.clock.now + min(LONGEST_PAUSE, 0.5 * 2**self._attempts)

    def _missing(self, error: BaseException) -> None:
        self._broker.clock.tick()
        self._fail_for_good(error)

    def _moved_on(self, error: BaseException | None) -> None:
        self._broker.clock.tick()
        if error is None:
            self._attempts = 0
            self._broker.fail("")
            log.warning("the journal goes on in a new file")
        else:
            self._fail_for_good(error)
        self._go_on()
