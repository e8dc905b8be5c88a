"""What can go wrong for a client of a queue."""

from __future__ import annotations


class QueueError(Exception):
    """Any error of this client."""


class QueueEmpty(QueueError):
    """No item came within the time that a reserve was willing to wait."""


class QueueFull(QueueError):
    """The queue holds as much as its limits allow; nothing was stored."""


class ReservationLost(QueueError):
    """The reservation had ended before: by its deadline, with its connection, or with the server.

    The item is ready again, or another worker has it. Where the connection broke between the request and its reply, the
    item may have been acknowledged all the same.
    """


class ServerUnavailable(QueueError):
    """No answer from the server, or one that says that it cannot at present.

    A put that ends with this may or may not have been stored.
    """


class RequestRefused(QueueError):
    """The server says that the request is wrong or not permitted; the text is the server's."""


class AuthenticationFailed(RequestRefused):
    """The server does not know this name with this password."""
