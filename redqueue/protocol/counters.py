"""What the protocol counts, for ``stats``."""

from __future__ import annotations

from inspect import isdatadescriptor
from typing import Final


class Counters:
    """Requests by kind, since the start or the last ``stats reset``."""

    __slots__ = (
        "auth_cmds",
        "auth_errors",
        "cas_badval",
        "cas_hits",
        "cas_misses",
        "cmd_flush",
        "cmd_set",
        "decr_hits",
        "decr_misses",
        "delete_hits",
        "delete_misses",
        "denied_requests",
        "get_hits",
        "get_misses",
        "incr_hits",
        "incr_misses",
        "malformed_requests",
        "noreply_errors",
        "storage_errors",
        "touch_hits",
        "touch_misses",
        "unauthenticated_requests",
    )

    auth_cmds: int
    auth_errors: int
    cas_badval: int
    cas_hits: int
    cas_misses: int
    cmd_flush: int
    cmd_set: int
    decr_hits: int
    decr_misses: int
    delete_hits: int
    delete_misses: int
    denied_requests: int
    get_hits: int
    get_misses: int
    incr_hits: int
    incr_misses: int
    malformed_requests: int
    noreply_errors: int
    storage_errors: int
    touch_hits: int
    touch_misses: int
    unauthenticated_requests: int

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        for name in COUNTERS:
            setattr(self, name, 0)


COUNTERS: Final = tuple(sorted(name for name, attribute in vars(Counters).items() if isdatadescriptor(attribute)))
"""The names of all counters."""
