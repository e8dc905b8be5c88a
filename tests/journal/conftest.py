"""What the tests of the journal share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journal.journaled_queues import JournaledQueues


@pytest.fixture
def open_queues(tmp_path: Path) -> Iterator[Callable[..., JournaledQueues]]:
    """Opens the journal in ``tmp_path``; what is still open at the end of the test is abandoned."""
    opened: list[JournaledQueues] = []

    def open_one(directory: Path = tmp_path, **options: object) -> JournaledQueues:
        queues = JournaledQueues(directory, **options)  # type: ignore[arg-type]
        opened.append(queues)
        return queues

    yield open_one
    for queues in opened:
        if queues.is_open():
            queues.kill()


@pytest.fixture
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing does nothing: for tests that open thousands of journals and cut no power."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr("redqueue.journal.segment._datasync", lambda fd: None)
