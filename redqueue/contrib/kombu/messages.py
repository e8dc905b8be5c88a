"""Messages of kombu as items: payload, lifetime and delay."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from kombu.utils.json import dumps, loads

LONGEST_DELAY = 2**31 - 1
"""Seconds (the most that ``/delay=`` takes)."""
_RELATIVE = 30 * 24 * 3600
"""Seconds up to which memcached's exptime is relative to now."""

Message = dict[str, Any]


def payload(message: Message) -> bytes:
    """The message as an item."""
    text: str = dumps(message)
    return text.encode()


def read(item: bytes) -> Message:
    """The message that an item is.

    :raises ValueError: where it is none
    """
    message = loads(item.decode())
    if not isinstance(message, dict) or not isinstance(message.get("properties"), dict):
        raise ValueError("no message of kombu")
    return message


def mark_redelivered(message: Message) -> None:
    """Say in a message that it was delivered before, as AMQP does."""
    message["properties"].setdefault("delivery_info", {})["redelivered"] = True


def seconds_to_live(message: Message, most: float) -> float:
    """How long a message may wait, by its ``expiration`` (milliseconds); 0 for ever.

    :param most: what its queue says of that; 0 for ever
    """
    try:
        own = float(message["properties"].get("expiration") or 0) / 1000
    except (TypeError, ValueError):
        own = 0.0
    lifetimes = [seconds for seconds in (own, most) if seconds > 0]
    return min(lifetimes, default=0.0)


def exptime(seconds: float) -> int:
    """So many seconds to live as the protocol has them, rounded up; 0 for ever."""
    whole = math.ceil(seconds)
    return whole if whole <= _RELATIVE else int(time.time()) + whole


def delay(message: Message) -> float:
    """Seconds until the ``eta`` that Celery gives a message; 0 where there is none, or it has passed.

    One without a time zone is left to the worker, which knows the application's.
    """
    headers = message.get("headers")
    eta = headers.get("eta") if isinstance(headers, Mapping) else None
    if isinstance(eta, str):
        try:
            eta = datetime.fromisoformat(eta.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if not isinstance(eta, datetime) or eta.tzinfo is None:
        return 0.0
    return min(max(0.0, (eta - datetime.now(timezone.utc)).total_seconds()), LONGEST_DELAY)
