"""Deleting segments in which nothing lives."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from pathlib import Path

from redqueue.journal.segment import sync_directory

log = logging.getLogger(__name__)


class Remover:
    """Removes dead segments, strictly in their order; a failure is logged and costs only disk space.

    What could not be removed, or whose removal could not be synced, is tried again
    before the next one: no crash may leave a gap in the numbers.
    """

    def __init__(self) -> None:
        self._paths: deque[Path] = deque()

    def __call__(self, path: Path) -> None:
        self._paths.append(path)
        try:
            while self._paths:
                path = self._paths[0]
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                sync_directory(path.parent)
                self._paths.popleft()
                log.debug("segment %s has nothing live and is removed", path.name)
        except OSError as error:
            log.error("segment %s has nothing live and cannot be removed: %s", path, error)
