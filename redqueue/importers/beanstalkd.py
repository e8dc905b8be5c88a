"""A tube of a running beanstalkd (its doc/protocol.txt)."""

from __future__ import annotations

from collections.abc import Sequence

from redqueue.importers.item import SourceFailed, SourceItem
from redqueue.importers.stream import Stream

MOST_ITEMS = 50
MOST_BYTES = 8 << 20
"""Jobs read at a time, and about how many bytes."""


class Tube:
    """Ready jobs in the order of their priorities, then delayed ones with the rest of their delays, then buried ones.

    A ready job is reserved until it is removed, so that no worker gets it too. Delayed and buried ones are only looked
    at before they are removed, so that they stay what they are when this is killed.

    :param copies: leave all there; jobs are held until the end, and put back then
    :param with_buried: whether buried jobs are to be read too
    """

    def __init__(self, stream: Stream, tube: bytes, *, copies: bool, with_buried: bool) -> None:
        self._stream = stream
        self._tube = tube
        self._copies = copies
        self._with_buried = with_buried
        self._stage = 0
        self._seen = set[bytes]()
        self._put_back: list[bytes] = []
        self._longest = 1
        self._held = 0
        self._ttrs = set[int]()
        self._expect(b"use " + tube, b"USING ")
        self._expect(b"watch " + tube, b"WATCHING ")
        if tube != b"default":
            self._expect(b"ignore default", b"WATCHING ")

    def _expect(self, command: bytes, start: bytes) -> bytes:
        self._stream.send(command + b"\r\n")
        reply = self._stream.line()
        if not reply.startswith(start):
            raise SourceFailed(f"{self._stream.place} answers {reply!r} to {command!r}")
        return reply

    def _figures(self, command: bytes) -> dict[bytes, bytes]:
        self._stream.send(command + b"\r\n")
        return self._read_figures()

    def _read_figures(self) -> dict[bytes, bytes]:
        reply = self._stream.line()
        if not reply.startswith(b"OK "):
            return {}
        lines = self._stream.payload(int(reply[3:])).split(b"\n")
        return {name: value for name, _, value in (line.partition(b": ") for line in lines)}

    def _state(self, state: bytes) -> int:
        return int(self._figures(b"stats-tube " + self._tube).get(b"current-jobs-" + state, b"0"))

    def count(self) -> int:
        """How many jobs there are to import."""
        states = [b"ready", b"delayed"] + [b"buried"] * self._with_buried
        return sum(map(self._state, states))

    def batch(self) -> Sequence[SourceItem]:
        """The next jobs."""
        while self._stage < 3:
            if self._stage == 0:
                items = self._ready()
            elif self._stage == 1:
                items = self._next(b"delayed")
            else:
                items = self._next(b"buried") if self._with_buried else []
            if items:
                return items
            self._stage += 1
        return []

    def _ready(self) -> list[SourceItem]:
        items = []
        wanted = max(1, min(MOST_ITEMS, MOST_BYTES // self._longest))
        self._stream.send(b"reserve-with-timeout 0\r\n" * wanted)
        for _ in range(wanted):
            reply = self._stream.line()
            if reply.startswith(b"RESERVED "):
                items.append(self._job(reply))
            elif reply not in (b"TIMED_OUT", b"DEADLINE_SOON"):
                raise SourceFailed(f"{self._stream.place} answers {reply!r} to a reserve")
        self._stream.send(b"".join(b"stats-job %b\r\n" % item.handle for item in items))
        for _ in items:
            self._ttrs.add(int(self._read_figures().get(b"ttr", b"0")))
        again = [item for item in items if item.handle in self._seen]
        if self._copies:
            self._seen.update(item.handle for item in items)
        self._held += len(items) - len(again)
        return [item for item in items if item not in again]

    def _job(self, reply: bytes, delay: float = 0.0, is_buried: bool = False) -> SourceItem:
        _, number, size = reply.split(b" ")
        payload = self._stream.payload(int(size))
        self._longest = max(self._longest, len(payload))
        return SourceItem(payload, delay=delay, handle=number, is_buried=is_buried)

    def _next(self, state: bytes) -> list[SourceItem]:
        self._stream.send(b"peek-%b\r\n" % state)
        reply = self._stream.line()
        if not reply.startswith(b"FOUND "):
            return []
        item = self._job(reply)
        figures = self._figures(b"stats-job " + item.handle)
        self._ttrs.add(int(figures.get(b"ttr", b"0")))
        left = float(figures.get(b"time-left", b"0")) if state == b"delayed" else 0.0
        if self._copies and not self._hold(item.handle, state, figures, left):
            return []
        return [SourceItem(item.payload, delay=left, handle=item.handle, is_buried=state == b"buried")]

    def _hold(self, number: bytes, state: bytes, figures: dict[bytes, bytes], left: float) -> bool:
        """Reserve a job so that the next one can be seen; returns False where it was one already."""
        if number in self._seen:
            return False
        self._seen.add(number)
        self._stream.send(b"reserve-job %b\r\n" % number)
        reply = self._stream.line()
        if not reply.startswith(b"RESERVED "):
            raise SourceFailed(f"{self._stream.place} answers {reply!r} to reserve-job, which --copy needs")
        self._job(reply)
        priority = figures.get(b"pri", b"0")
        if state == b"buried":
            self._put_back.append(b"bury %b %b\r\n" % (number, priority))
        else:
            self._put_back.append(b"release %b %b %d\r\n" % (number, priority, left))
        return True

    def remove(self, items: Sequence[SourceItem]) -> int:
        """Delete jobs."""
        self._stream.send(b"".join(b"delete %b\r\n" % item.handle for item in items))
        self._held -= sum(not item.delay and not item.is_buried for item in items)
        return sum(self._stream.line() == b"DELETED" for _ in items)

    def findings(self) -> list[str]:
        """What was not imported, and the deadlines that were found."""
        found = []
        if not self._with_buried and (buried := self._state(b"buried")):
            found.append(f"{buried} buried stay there; --buried=QUEUE imports them into QUEUE")
        if not self._copies and (reserved := self._state(b"reserved") - self._held) > 0:
            found.append(f"{reserved} reserved by workers, and stay there until those have done them")
        if self._ttrs:
            least, most = min(self._ttrs), max(self._ttrs)
            shown = f"{least} s" if least == most else f"{least} to {most} s"
            found.append(f"the TTR of the jobs is {shown}; reserve_timeout of the queue is what counts from now on")
        return found

    def close(self) -> None:
        """Put back what is held."""
        try:
            for line in self._put_back:
                self._stream.send(line)
                self._stream.line()
        finally:
            self._stream.close()
