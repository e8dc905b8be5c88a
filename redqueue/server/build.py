"""Which build of RedQueue is running."""

from __future__ import annotations

from redqueue.engine import queue


def is_compiled() -> bool:
    """Whether the hot modules were compiled when RedQueue was installed, or are plain Python."""
    return not str(queue.__file__).endswith(".py")
