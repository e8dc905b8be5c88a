"""``redqueue drain``: the server comes to rest, and somebody waits for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.live import Live, terminal
from tests.server_process import wait_until


@pytest.fixture
def drained(live: Live) -> Iterator[Live]:
    """A server that drains no more afterwards."""
    yield live
    with live.connect() as wire:
        assert wire.ask(b"drain off") == b"OK"


def test_on_and_off(drained: Live) -> None:
    drained.fill(b"jobs", b"a", b"b")
    assert drained.redqueue("drain", "on").stdout == "the server drains: 2 items left, 0 reserved\n"
    assert "takes no items" in drained.redqueue("put", "jobs", "c", status=1).stderr
    assert "DRAINING" in drained.redqueue("top", "--once", "--interval=100ms").stdout
    assert drained.redqueue("take", "jobs").stdout == "a\n"
    assert drained.json("drain", "off") == {"drain": False, "done": True, "items": 1, "reserved": 0}
    drained.redqueue("put", "jobs", "c")


def test_until_nothing_is_reserved(drained: Live) -> None:
    drained.fill(b"jobs", b"a", b"b")
    with drained.connect() as wire:
        assert wire.get(b"jobs")
        fields = drained.json("drain", "on", "--wait=idle", "--within=300ms", status=1)
        assert fields == {"drain": True, "done": False, "items": 2, "reserved": 1}
        process = drained.start_command("drain", "on", "--wait=idle", stdout=subprocess.PIPE)
        assert wire.ask(b"delete jobs") == b"DELETED"
        assert process.communicate(timeout=20) == (b"the server drains: 1 item left, 0 reserved\n", b"")
        assert process.returncode == 0


def test_until_nothing_is_left(drained: Live) -> None:
    drained.fill(b"jobs", b"a", b"b")
    with terminal(drained, "drain", "on", "--wait=empty") as shown, drained.connect() as wire:
        wait_until(lambda: "draining" in shown.read())
        for _ in range(2):
            assert wire.get(b"jobs")
            assert wire.ask(b"delete jobs") == b"DELETED"
        assert shown.end() == 0
        assert "the server drains: 0 items left, 0 reserved" in shown.read()


def test_wait_goes_with_on(live: Live) -> None:
    assert "--wait goes with `drain on`" in live.redqueue("drain", "off", "--wait=idle", status=2).stderr
