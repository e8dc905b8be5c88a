"""RedQueue as a broker of kombu, and so of Celery (extra ``celery``).

kombu finds a transport by the name of its class, or by an alias that it gets
here, when this package is imported::

    Connection("redqueue://localhost:12345//", transport="redqueue.contrib.kombu:Transport")

docs/celery.md says how the two fit together.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

from redqueue.contrib.kombu.channel import Channel
from redqueue.contrib.kombu.transport import Transport

__all__ = ["Channel", "Transport"]

TRANSPORT_ALIASES["redqueue"] = "redqueue.contrib.kombu:Transport"
