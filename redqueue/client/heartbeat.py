"""One thread that touches the reservations of all work that is running."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from redqueue.client import codec
from redqueue.client.connection import ConnectionPool
from redqueue.client.errors import QueueError, ReservationLost

if TYPE_CHECKING:
    from redqueue.client.queue import Reservation


class Heartbeat:
    """Touches reservations, each three times within its deadline, over connections that are not the workers'.

    The thread begins with the first reservation, and the connection with the first touch.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._due: dict[Reservation, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, reservation: Reservation) -> None:
        """Touch it from now on."""
        with self._changed:
            self._due[reservation] = monotonic() + reservation.deadline / 3
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="redqueue-heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, reservation: Reservation) -> None:
        """Touch it no longer."""
        with self._changed:
            self._due.pop(reservation, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        while (reservation := self._next()) is not None:
            try:
                self._pool.run(codec.touch(reservation.queue, reservation.token, reservation.deadline))
            except ReservationLost:
                reservation.lost = True
                self.remove(reservation)
            except QueueError:
                continue  # the server may come back before the deadline; the next touch is due in a third of it

    def _next(self) -> Reservation | None:
        with self._changed:
            while not self._closed:
                now = monotonic()
                for reservation, due in self._due.items():
                    if due <= now:
                        self._due[reservation] = now + reservation.deadline / 3
                        return reservation
                self._changed.wait(min(self._due.values()) - now if self._due else None)
        return None
