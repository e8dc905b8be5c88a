"""Names of queues in JSON and in paths."""

from __future__ import annotations

from urllib.parse import quote_from_bytes


def shown(name: bytes) -> str:
    """A queue's name to be read by people; bytes that are no UTF-8 as ``\\xff``."""
    return name.decode("utf-8", "backslashreplace")


def in_path(name: bytes) -> str:
    """A queue's name, exactly, as one part of a path."""
    return quote_from_bytes(name, safe="")
