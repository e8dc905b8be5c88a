"""What all queues share: the journal, the time, ids, and the batch that becomes one frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from redqueue.engine.arrival import Arrival
from redqueue.engine.clock import Clock
from redqueue.engine.consumer import Consumer, NamedConsumers, Reservation, Source, Waiter
from redqueue.engine.deadlines import Deadlines
from redqueue.engine.journal import Journal
from redqueue.engine.origins import Origins
from redqueue.engine.settings import SettingsBook
from redqueue.engine.tokens import Tokens

log = logging.getLogger(__name__)

ITEM_COST: Final = 64
"""Bytes of memory an item takes besides its record: the object, its share of a container, malloc's rounding."""
_WINDOW_MOST: Final = 512 << 10
"""Bytes of a backlog that its queue keeps in memory, where all queues together have room."""


class StorageFailed(Exception):
    """The journal has failed or its disk is full; the reason is the argument."""


class Batch:
    """What has happened since the last batch and waits for its frame of the journal.

    :ivar puts: (queue, record, receipt) of each item put
    :ivar acks: (reservation, its consumer, receipt) of each acknowledgement
    :ivar effects: (what success does, what failure does, receipt) of each rare change
    """

    __slots__ = ("acks", "effects", "number", "puts")

    def __init__(
        self,
        number: int,
        puts: list[tuple[Any, bytes, Any]],
        acks: list[tuple[Reservation, Consumer, Any]],
        effects: list[tuple[Callable[[], None], Callable[[], None], Any]],
    ) -> None:
        self.number = number
        self.puts = puts
        self.acks = acks
        self.effects = effects


class Ledger:
    """The engine's book: every queue writes into it.

    :param book: the settings of each queue
    :param clock: tells the time
    :param journal: takes the records
    :param memory: bytes of items that all queues together may hold in memory; 0 for no limit

    :ivar batch: number of the open batch
    :ivar committed: number of the last committed batch
    :ivar total_items: items put since the start or the last ``stats reset``
    :ivar failure: why the journal takes nothing, in words; empty while it does
    :ivar shortage: why it takes acknowledgements only: there is no space, in words; empty while there is
    :ivar over_limit: why it takes no items, though it could: it is as large as it may be, in words; or empty
    :ivar max_queues: how many queues may hold items, and how many children there may be; 0 for any number
    :ivar draining: whether the server takes no items because it is to end
    :ivar readonly: whether it takes none because an operator says so
    :ivar refusing: whether a put must ask why before it goes on
    :ivar ending: whether the server itself closes the connections, so that no item is lost by its worker's fault
    :ivar cold_cost: what the records that are not in memory would cost there, bytes
    :ivar cold_queues: how many queues have such
    :ivar on_append: called when something was journaled outside of a request
    """

    def __init__(self, book: SettingsBook, clock: Clock, journal: Journal, memory: int = 0) -> None:
        self.memory = memory
        self.cold_cost = 0
        self.cold_queues = 0
        self.book = book
        self.clock = clock
        self.journal = journal
        self.journal_put = journal.put
        self.journal_ack = journal.acknowledge
        self.append = journal.append
        self.deadlines = Deadlines()
        self.origins = Origins(journal)
        self.total_items = 0
        self.last_id = 0
        self.batch = 1
        self.committed = 0
        self.puts: list[tuple[Any, bytes, Any]] = []
        self.acks: list[tuple[Reservation, Consumer, Any]] = []
        self._effects: list[tuple[Callable[[], None], Callable[[], None], Any]] = []
        self.tokens: dict[int, Reservation] = {}
        self.named = NamedConsumers()
        self._token_source = Tokens(clock.wall)
        self._give_token = self._token_source.give
        self.failure = ""
        self.shortage = ""
        self.over_limit = ""
        self.max_queues = 0
        self.draining = False
        self.readonly = False
        self.refusing = False
        self.ending = False
        self.on_append: Callable[[], None] | None = None

    # -- memory -------------------------------------------------------------

    def hot_cost(self) -> int:
        """Bytes of memory that the items take."""
        return self.journal.live_bytes + ITEM_COST * self.journal.live_items - self.cold_cost

    def window(self) -> int:
        """Bytes that a queue with a backlog may hold in memory."""
        return self.share(self.cold_queues)

    def share(self, queues: int) -> int:
        """Bytes for each of so many queues, which together take a quarter of the memory."""
        return min(_WINDOW_MOST, self.memory // (4 * (1 + queues))) if self.memory else _WINDOW_MOST

    def on_unreadable(self, queue: bytes, error: BaseException | None) -> None:
        """Items of ``queue`` cannot be read back."""
        log.error(
            "items of the queue %r cannot be read back from the journal: %s", queue.decode("utf-8", "replace"), error
        )

    # -- the batch ----------------------------------------------------------

    def effect(self, commit: Callable[[], None], rollback: Callable[[], None], receipt: Any) -> None:
        """Add a rare change to the open batch: what its success and its failure do."""
        self._effects.append((commit, rollback, receipt))

    def housekeeping(self) -> None:
        """Something was journaled that no request asked for."""
        if self.on_append is not None:
            self.on_append()

    def has_changes(self) -> bool:
        """Whether anything has happened that waits for a frame."""
        return bool(self.puts or self.acks or self._effects)

    def seal(self) -> Batch:
        """Close the open batch, whose frame is about to be written, and open the next."""
        batch = Batch(self.batch, self.puts, self.acks, self._effects)
        self.batch += 1
        self.puts = []
        self.acks = []
        self._effects = []
        return batch

    # -- failing and refusing -----------------------------------------------

    def check_storage(self) -> None:
        """Raise :class:`StorageFailed` where the journal takes nothing."""
        if self.failure:
            raise StorageFailed(self.failure)

    def check_space(self) -> None:
        """Raise :class:`StorageFailed` where the journal takes nothing, or no new items."""
        if self.failure or self.shortage:
            raise StorageFailed(self.failure or self.shortage)

    def fail(self, reason: str) -> None:
        """The journal takes nothing from here on, for ``reason``; an empty one lifts it."""
        self.failure = reason
        self._decide()

    def lack_space(self, reason: str) -> None:
        """The journal takes no new items from here on, for ``reason``; an empty one lifts it."""
        self.shortage = reason
        self._decide()

    def limit_space(self, reason: str) -> None:
        """Take no new items from here on, for ``reason``, as where a queue is full; an empty one lifts it."""
        self.over_limit = reason
        self._decide()

    def drain(self, on: bool) -> None:
        """Take no new items while ``on``, because the server is to end.

        Gets and acknowledgements go on, and so does what the engine moves itself: delayed items, those given back,
        dead letters and their redrive. It has nothing to do with :meth:`set_readonly`: either is enough to refuse.
        """
        self.draining = on
        self._decide()

    def set_readonly(self, on: bool) -> None:
        """Take no new items while ``on``, because an operator says so; otherwise as :meth:`drain`."""
        self.readonly = on
        self._decide()

    def takes_items(self) -> bool:
        """Whether the server takes items, unless its journal cannot."""
        return not (self.draining or self.readonly or self.over_limit)

    def _decide(self) -> None:
        self.refusing = bool(self.failure or self.shortage) or not self.takes_items()

    # -- what one queue cannot do alone ---------------------------------------

    def open(self, name: bytes) -> Any:
        """The queue ``name``, made if there is none."""
        raise NotImplementedError

    def admit(self, queue: Any, arrival: Arrival) -> bool:
        """Put an item that is not a plain one; False where it cannot be taken."""
        raise NotImplementedError

    def fan_out(self, queue: Any, arrival: Arrival) -> bool:
        """Put an item into a queue's children, and into the queue itself as its settings say: all or none."""
        raise NotImplementedError

    def put_back(self, queue: Any, record: bytes, deliveries: int, delay: float, is_loss: bool) -> None:
        """Put an item back that was delivered and not acknowledged, where the queue has rules for that."""
        raise NotImplementedError

    def last_place(self) -> int:
        """A place behind every item that is, or ever was, in any queue."""
        self.last_id += 1
        return self.last_id

    # -- consumers ----------------------------------------------------------

    def wait(
        self,
        queues: Iterable[Source],
        consumer: Consumer,
        seconds: float,
        timeout: float | None,
        deliver: Callable[[Reservation | None], None],
    ) -> Waiter:
        """Stand in the lines of ``queues`` for the first item of any, at most ``seconds``.

        :param timeout: seconds until the reservation's deadline; None for the queue's own
        :param deliver: called once, with the reservation, or None when the time is over
        """
        waiter = Waiter(queues, consumer, timeout, deliver, self.deadlines)
        waiter.stand(self.clock.now + seconds)
        return waiter

    # -- tokens -------------------------------------------------------------

    def token_of(self, reservation: Reservation) -> int:
        """The token of a reservation, given at the first call."""
        return reservation.token or self.give_token(reservation)

    def give_token(self, reservation: Reservation) -> int:
        """The token of a reservation that has none."""
        token = self._give_token()
        reservation.token = token
        self.tokens[token] = reservation
        return token

    def was_given(self, token: int) -> bool:
        """Whether ``token`` was ever given, whatever has become of its reservation."""
        return self._token_source.was_given(token)
