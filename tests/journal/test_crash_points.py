"""Crashes at the steps that the journal takes on its disk; ``make crash`` does the same with more seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journal.crash_points import FAULTS, live_and_crash

pytestmark = pytest.mark.plain  # it looks into each append of the log


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_crash_leaves_a_state_that_was_promised(scratch: Path, seed: int, sync: bool) -> None:
    """Rotation, compaction, removal of segments and everything in between."""
    server = live_and_crash(scratch, seed, sync=sync)
    assert server.log._current.number > 5
    assert server.commit.compactor is not None
    assert server.commit.compactor.compacted_segments > 0


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_every_crash_on_a_failing_disk_leaves_a_state_that_was_promised(scratch: Path, seed: int, sync: bool) -> None:
    """Failed writes and syncs, and going on in a new segment."""
    live_and_crash(scratch, seed, sync=sync, faults=FAULTS)
