"""What the tests of several parts share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for thousands of files that no real disk has to see: in memory where the system has such a place."""
    directory = Path(tempfile.mkdtemp(prefix="redqueue-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    yield directory
    shutil.rmtree(directory)
