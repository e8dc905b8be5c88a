"""A client for workers and producers: plain, and for asyncio. It needs the extra ``client``."""

from redqueue.client.aio import AsyncClient, AsyncQueue, AsyncReservation
from redqueue.client.errors import (
    AuthenticationFailed,
    QueueEmpty,
    QueueError,
    QueueFull,
    RequestRefused,
    ReservationLost,
    ServerUnavailable,
)
from redqueue.client.queue import Client, Queue, Reservation
from redqueue.client.retry import back_off

__all__ = [
    "AsyncClient",
    "AsyncQueue",
    "AsyncReservation",
    "AuthenticationFailed",
    "Client",
    "Queue",
    "QueueEmpty",
    "QueueError",
    "QueueFull",
    "RequestRefused",
    "Reservation",
    "ReservationLost",
    "ServerUnavailable",
    "back_off",
]
