"""What all queues share: the journal, the time, ids, and the batch that becomes one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakValueDictionary

from redqueue.engine.clock import Clock
from redqueue.engine.consumer import Consumer, NamedConsumer, Reservation, Source, Waiter
from redqueue.engine.deadlines import Deadlines
from redqueue.engine.journal import Journal
from redqueue.engine.settings import QueueSettings
from redqueue.engine.tokens import Tokens


class StorageFailed(Exception):
    """The journal has failed; the reason is the argument."""


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

    :param settings: the settings of all queues
    :param clock: tells the time
    :param journal: takes the records

    :ivar batch: number of the open batch
    :ivar committed: number of the last committed batch
    :ivar failure: why the journal takes nothing, in words; empty while it does
    :ivar refusing: whether a put must ask why before it goes on
    :ivar on_append: called when something was journaled outside of a request
    """

    def __init__(self, settings: QueueSettings, clock: Clock, journal: Journal) -> None:
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.journal_put = journal.put
        self.journal_ack = journal.acknowledge
        self.append = journal.append
        self.deadlines = Deadlines()
        self.last_id = 0
        self.batch = 1
        self.committed = 0
        self.puts: list[tuple[Any, bytes, Any]] = []
        self.acks: list[tuple[Reservation, Consumer, Any]] = []
        self._effects: list[tuple[Callable[[], None], Callable[[], None], Any]] = []
        self.tokens: dict[int, Reservation] = {}
        self.named: WeakValueDictionary[bytes, NamedConsumer] = WeakValueDictionary()
        self._token_source = Tokens(clock.wall)
        self._give_token = self._token_source.give
        self.failure = ""
        self.draining = False
        self.refusing = False
        self.on_append: Callable[[], None] | None = None

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
        """Raise :class:`StorageFailed` where the journal has failed."""
        if self.failure:
            raise StorageFailed(self.failure)

    def fail(self, reason: str) -> None:
        """The journal takes nothing from here on, for ``reason``; an empty one lifts it."""
        self.failure = reason
        self.refusing = bool(reason) or self.draining

    def drain(self, on: bool) -> None:
        """Take no new items while ``on``; gets and acknowledgements go on."""
        self.draining = on
        self.refusing = on or bool(self.failure)

    # -- consumers ----------------------------------------------------------

    def consumer_named(self, name: bytes) -> NamedConsumer:
        """The consumer ``name``, made if it has nothing and waits nowhere."""
        consumer = self.named.get(name)
        if consumer is None:
            self.named[name] = consumer = NamedConsumer()
        return consumer

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
