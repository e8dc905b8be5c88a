"""The process's limit of open files, and how many clients that allows."""

from __future__ import annotations

import contextlib
import logging
import resource

log = logging.getLogger(__name__)

KEPT = 164
"""Descriptors that no client gets, so that the journal can always open its next segment: that one, those being read
back or removed, listening sockets, the log, the event loop's own, clients that are being refused, and a hundred of the
web page."""


def raise_limit() -> int | None:
    """Raise the limit of open files as far as this process may; returns it, None where there is none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def most_clients(wanted: int, files: int | None) -> int:
    """How many clients may be connected at a time; the log says it where that is less than is wanted.

    :param wanted: the option ``max_connections``, 0 for as many as there can be
    :param files: the limit of open files, None for none
    :returns: 0 where there is no limit
    """
    if files is None:
        return wanted
    possible = max(1, files - min(KEPT, files // 2))
    if wanted > possible:
        log.warning(
            "max_connections=%d is more than %d open files allow: at most %d clients at a time. Raise that limit "
            "(LimitNOFILE=, ulimit -Hn) to %d",
            wanted,
            files,
            possible,
            wanted + KEPT,
        )
    return min(wanted, possible) if wanted else possible
