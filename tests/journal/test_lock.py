"""The lock file: one server a journal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from redqueue.journal.lock import JournalInUse, Lock

HOLD = """
import sys
from pathlib import Path
from redqueue.journal.lock import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_told_who_has_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    with pytest.raises(JournalInUse, match=rf"(?s){tmp_path}.*pid {os.getpid()}\).*--logdir"):
        Lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_released_lock_can_be_taken(tmp_path: Path) -> None:
    Lock(tmp_path).release()
    assert (tmp_path / "lock").exists()
    Lock(tmp_path).release()


def test_a_refused_holder_leaves_no_open_file(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    open_files = os.listdir("/proc/self/fd")
    with pytest.raises(JournalInUse):
        Lock(tmp_path)
    assert os.listdir("/proc/self/fd") == open_files
    lock.release()


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(JournalInUse, match=rf"pid {holder.pid}\)"):
            Lock(tmp_path)
        holder.kill()
        holder.wait()
    lock = Lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_nothing_is_left_of_the_pid_before(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("a long pid: 12345678901234567890\n")
    lock = Lock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
