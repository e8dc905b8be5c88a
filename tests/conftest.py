"""What the tests of several parts share."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_MEMORY = Path("/dev/shm")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script; what tests start inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for thousands of files that no real disk has to see: in memory where the system has such a place."""
    directory = Path(tempfile.mkdtemp(prefix="redqueue-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
