"""What a client sees of a server, as plainly as it can be said: lists, and no thought for speed.

Nothing here knows how bytes are cut, what a batch is or which protocol is
spoken. Each call is carried out at once; its outcome goes to the client's
``told``, at once or when its waiting is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace


@dataclass(eq=False)
class Item:
    """An item, wherever it is."""

    queue: bytes
    place: int
    body: bytes
    flags: int
    expires: float | None
    deliveries: int = 0


@dataclass(eq=False)
class Held:
    """A reservation. Its token is its number: the test knows which token of the server that is."""

    number: int
    item: Item
    consumer: object
    ends: float


@dataclass(frozen=True)
class Key:
    """A key of a get: name and options."""

    queue: bytes
    wait: float = 0.0
    peek: int | None = None
    joins: bool = False
    closes: bool = False
    opens: bool = True
    aborts: bool = False
    delay: float = 0.0
    name: bytes | None = None


@dataclass(eq=False)
class Get:
    """A get under way."""

    client: Client
    keys: list[Key]
    timeout: float | None
    values: list[tuple[Key, Item, int | None]] = field(default_factory=list)
    lines: list[Key] = field(default_factory=list)
    until: float = 0.0


@dataclass(eq=False)
class Client:
    """A connection, and what it has been told and not yet compared: outcomes with their arguments."""

    told: list[tuple[object, ...]] = field(default_factory=list)
    waiting: Get | None = None


class Model:
    """All queues.

    :param clock: tells the time, seconds
    """

    def __init__(self, clock: Callable[[], float], prefetch: int, reserve_timeout: float) -> None:
        self._clock = clock
        self._prefetch = prefetch
        self._reserve_timeout = reserve_timeout
        self.ready: dict[bytes, list[Item]] = {}
        self.delayed: list[tuple[float, Item]] = []
        self.held: list[Held] = []
        self._line: list[Get] = []
        self._places = 0
        self._front = 0
        self._numbers = 0

    # -- puts -------------------------------------------------------------------

    def put(
        self, queue: bytes, body: bytes, flags: int, ttl: float | None, delay: float = 0.0, first: bool = False
    ) -> str:
        self._places += 1
        self._front -= 1
        expires = None if ttl is None else self._clock() + ttl
        item = Item(queue, self._front if first else self._places, body, flags, expires)
        if delay:
            self.delayed.append((self._clock() + delay, item))
        else:
            self._insert(item)
        return "stored"

    def add(self, queue: bytes, body: bytes, flags: int) -> str:
        busy = self._alive(queue) or any(h.item.queue == queue for h in self.held)
        if busy or any(item.queue == queue for _, item in self.delayed):
            return "not stored"
        return self.put(queue, body, flags, None)

    def replace(self, queue: bytes, body: bytes, flags: int) -> str:
        alive = self._alive(queue)
        if not alive:
            return "not stored"
        alive[0].body, alive[0].flags, alive[0].expires = body, flags, None
        return "stored"

    def count(self, queue: bytes, delta: int) -> tuple[object, ...]:
        alive = self._alive(queue)
        if not alive:
            return ("not found",)
        text = alive[0].body.rstrip(b" ")
        if not text.isdigit():
            return ("no number",)
        number = (int(text) + delta) % 2**64 if delta > 0 else max(0, int(text) + delta)
        alive[0].body = b"%d" % number
        return ("number", number)

    def swap(self, number: int | None, queue: bytes, body: bytes, flags: int, delay: float) -> str:
        held = next((h for h in self.held if h.number == number), None)
        if held is None:
            return "not found" if number is None else "exists"
        self.held.remove(held)
        return self.put(queue, body, flags, None, delay)

    def flush(self, queue: bytes | None) -> str:
        for name in list(self.ready) if queue is None else [queue]:
            self.ready.pop(name, None)
        self.held = [h for h in self.held if queue not in (None, h.item.queue)]
        self.delayed = [entry for entry in self.delayed if queue not in (None, entry[1].queue)]
        return "ok"

    # -- reservations -------------------------------------------------------------

    def find(self, client: Client, queue: bytes, name: bytes | None, number: int | None) -> Held | None:
        """By token if there is one, else the consumer's oldest."""
        consumer = client if name is None else name
        for held in self.held:
            if held.item.queue == queue and (held.consumer == consumer if number is None else held.number == number):
                return held
        return None

    def delete(self, client: Client, queue: bytes, name: bytes | None, number: int | None) -> str:
        held = self.find(client, queue, name, number)
        if held is None:
            return "not found"
        self.held.remove(held)
        return "deleted"

    def give_back(self, client: Client, queue: bytes, name: bytes | None, number: int | None, delay: float) -> str:
        held = self.find(client, queue, name, number)
        if held is None:
            return "not found"
        self._return(held, delay)
        return "deleted"

    def touch(self, client: Client, queue: bytes, name: bytes | None, number: int | None, seconds: float) -> str:
        held = self.find(client, queue, name, number)
        if held is None:
            return "not found"
        held.ends = self._clock() + (seconds or self._reserve_timeout)
        return "touched"

    def close(self, client: Client) -> None:
        """The connection is gone."""
        if client.waiting is not None:
            self._line.remove(client.waiting)
            client.waiting = None
        for held in [h for h in self.held if h.consumer is client]:
            self._return(held)

    # -- gets ----------------------------------------------------------------------

    def get(self, client: Client, keys: list[Key], timeout: float | None) -> None:
        """Tells the client ``("values", [(key, the item as it was, token's number)])``."""
        self._go(Get(client, keys, timeout))

    def _go(self, get: Get) -> None:
        while get.keys:
            group = [get.keys.pop(0)]
            while group[-1].joins and get.keys:
                group.append(get.keys.pop(0))
            if not self._ask(get, group):
                return
        get.client.told.append(("values", get.values))

    def _ask(self, get: Get, group: list[Key]) -> bool:
        consumer = get.client if group[0].name is None else group[0].name
        for key in group:
            if key.closes or key.aborts:
                for held in [h for h in self.held if h.item.queue == key.queue and h.consumer == consumer]:
                    if key.closes:
                        self.held.remove(held)
                    else:
                        self._return(held, key.delay)
        lines = []
        for key in group:
            alive = self._alive(key.queue)
            if key.peek is not None:
                if key.peek < len(alive):
                    get.values.append((key, replace(alive[key.peek]), None))
                    return True
            elif key.opens and not self._is_full(consumer, key.queue):
                if alive:
                    self._reserve(get, key, consumer)
                    return True
                lines.append(key)
        wait = max(key.wait for key in group)
        if not wait or not lines:
            return True
        get.lines, get.until = lines, self._clock() + wait
        get.client.waiting = get
        self._line.append(get)
        return False

    def _is_full(self, consumer: object, queue: bytes) -> bool:
        return sum(h.consumer == consumer and h.item.queue == queue for h in self.held) >= self._prefetch

    def _reserve(self, get: Get, key: Key, consumer: object) -> None:
        item = self._alive(key.queue)[0]
        self.ready[key.queue].remove(item)
        item.deliveries += 1
        self._numbers += 1
        timeout = self._reserve_timeout if get.timeout is None else get.timeout
        self.held.append(Held(self._numbers, item, consumer, self._clock() + timeout))
        get.values.append((key, replace(item), self._numbers))

    def _serve(self, queue: bytes) -> None:
        while self._alive(queue):
            get = next((g for g in self._line if any(key.queue == queue for key in g.lines)), None)
            if get is None:
                return
            key = next(key for key in get.lines if key.queue == queue)
            consumer = get.client if key.name is None else key.name
            if self._is_full(consumer, queue):
                get.lines = [other for other in get.lines if other.queue != queue]
                if not get.lines:
                    self._end_wait(get)
                continue
            self._reserve(get, key, consumer)
            self._end_wait(get)

    def _end_wait(self, get: Get) -> None:
        self._line.remove(get)
        get.client.waiting = None
        self._go(get)

    # -- time ------------------------------------------------------------------------

    def next_event(self) -> float | None:
        """When something happens by itself."""
        moments = [when for when, _ in self.delayed] + [h.ends for h in self.held] + [g.until for g in self._line]
        return min(moments, default=None)

    def fire(self) -> None:
        """What is due happens."""
        now = self._clock()
        for entry in sorted((e for e in self.delayed if e[0] <= now), key=lambda e: e[0]):
            self.delayed.remove(entry)
            self._insert(entry[1])
        for held in [h for h in self.held if h.ends <= now]:
            self._return(held)
        for get in [g for g in self._line if g.until <= now]:
            self._end_wait(get)

    def _alive(self, queue: bytes) -> list[Item]:
        now = self._clock()
        return [item for item in self.ready.get(queue, ()) if item.expires is None or item.expires > now]

    def _insert(self, item: Item) -> None:
        items = self.ready.setdefault(item.queue, [])
        items.append(item)
        items.sort(key=lambda i: i.place)
        self._serve(item.queue)

    def _return(self, held: Held, delay: float = 0.0) -> None:
        self.held.remove(held)
        if delay:
            self.delayed.append((self._clock() + delay, held.item))
        else:
            self._insert(held.item)
