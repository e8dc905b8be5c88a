"""What may be set for a queue, and which settings are in force for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from redqueue.engine.topics import Topics, parts, rank, words

HEAD: Final = "head"
TAIL: Final = "tail"
REFUSE: Final = "refuse"
DROP_OLDEST: Final = "drop-oldest"

_DEAD: Final = b".dead"
_MAX_NAME: Final = 250
"""Bytes that a client can send as the name of a queue."""
_CACHED_NAMES: Final = 4096


@dataclass(frozen=True)
class QueueSettings:
    """The settings in force for a queue (CONTRACT: Settings of a queue)."""

    reserve_timeout: float = 300.0
    """Seconds until a reservation that names no deadline of its own is taken back."""
    prefetch: int = 1
    """Reservations one consumer may hold at a time."""
    wait: float = 0.0
    """Seconds that a plain get waits on an empty queue."""
    ttl: float = 0.0
    """Seconds that items live that name no TTL, and the most they may ask for; 0 for no limit."""
    max_deliveries: int = 0
    """After so many lost deliveries an item is a dead letter; 0 for never."""
    dead_letter: str = ""
    """The queue that takes the dead letters; empty for the queue's name and ``.dead``."""
    retry_delay: float = 0.0
    """Seconds until a lost item is ready again, doubled with each loss."""
    requeue: str = HEAD
    """Where an item goes that was not acknowledged: to its old place (``head``) or to the end (``tail``)."""
    max_items: int = 0
    """The most items, reserved ones included; 0 for no limit."""
    max_bytes: int = 0
    """The most bytes of payload, reserved items included; 0 for no limit."""
    overflow: str = REFUSE
    """What a put into a full queue does: it is refused, or the oldest ready items go (``drop-oldest``)."""
    fanout_only: bool = False
    """Whether a queue with children keeps no copy for itself."""

    examines_puts: bool = field(init=False)
    """Whether a put has a limit or a TTL to look at."""
    counts_losses: bool = field(init=False)
    """Whether it matters how often an item was lost."""
    examines_returns: bool = field(init=False)
    """Whether an item that was not acknowledged may go elsewhere than to its old place."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "examines_puts", bool(self.max_items or self.max_bytes or self.ttl))
        counts_losses = bool(self.max_deliveries or self.retry_delay)
        object.__setattr__(self, "counts_losses", counts_losses)
        object.__setattr__(self, "examines_returns", counts_losses or self.requeue == TAIL)

    def dead_letter_of(self, name: bytes) -> bytes:
        """The queue that takes the dead letters of the queue ``name``.

        A ``+`` in the name becomes a ``.``, since the dead letters of a child are nobody's child.
        """
        if self.dead_letter:
            return self.dead_letter.encode()
        return name.replace(b"+", b".")[: _MAX_NAME - len(_DEAD)] + _DEAD

    def figures(self) -> list[tuple[str, object]]:
        """Each setting with its value, as one would write it."""
        return [(each.name, written(getattr(self, each.name))) for each in fields(self) if each.init]


def written(value: object) -> object:
    """The value of a setting or an option as one would write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else value


class SettingsBook:
    """The settings of every queue, by name and by pattern.

    A table holds for the queue of its name, or for all whose names match its
    pattern, which is one of topics (:mod:`redqueue.engine.topics`). Where several
    tables say something of one setting, the most specific one counts: they are
    compared word by word from the left, where a literal word comes before ``*``,
    and ``*`` before ``#``. What no table says is as in ``defaults``.

    A child (``orders+audit``) has the settings of its parent, unless a table
    with a ``+`` of its own says otherwise (``orders+audit``, ``*+audit``).

    :param defaults: the settings of a queue that no table speaks of
    :param tables: settings by name or pattern
    """

    def __init__(self, defaults: QueueSettings, tables: Mapping[bytes, Mapping[str, Any]] | None = None) -> None:
        self.defaults = defaults
        self.tables = dict(tables or {})
        self._of_parents, self._of_children = Topics(), Topics()
        for key in self.tables:
            parent, child = parts(key)
            if child:
                self._of_children.add((*words(parent), b"+", *words(child)), key)
            else:
                self._of_parents.add(words(parent), key)
        self._known: dict[bytes, QueueSettings] = {}

    def of(self, name: bytes) -> QueueSettings:
        """The settings in force for the queue ``name``."""
        if not self.tables:
            return self.defaults
        found = self._known.get(name)
        if found is None:
            if len(self._known) >= _CACHED_NAMES:
                self._known.clear()
            found = self._known[name] = self._find(name)
        return found

    def _find(self, name: bytes) -> QueueSettings:
        parent, child = parts(name)
        found = _by_rank(self._of_parents.match(words(parent)))
        if child:
            found += _by_rank(self._of_children.match((*words(parent), b"+", *words(child))))
        changes: dict[str, Any] = {}
        for key in found:
            changes |= self.tables[key]
        return replace(self.defaults, **changes) if changes else self.defaults


def _by_rank(keys: Iterable[bytes]) -> list[bytes]:
    """Names and patterns, the most specific last."""
    return sorted(keys, key=lambda key: tuple(map(rank, parts(key))), reverse=True)
