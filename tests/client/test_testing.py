"""redqueue.testing gives a test a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from redqueue.client import Client, QueueFull
from redqueue.testing import RunningServer, redqueue_server, running_server

__all__ = ["redqueue_server"]


def test_the_fixture(redqueue_server: RunningServer) -> None:
    with Client(redqueue_server.address) as client:
        client.queue("jobs").put("a")
        redqueue_server.restart()
        assert client.queue("jobs").reserve(wait=0).body == b"a"
        redqueue_server.kill()
        redqueue_server.start()
        assert client.queue("jobs").reserve(wait=0).body == b"a"


def test_options_and_the_end() -> None:
    with running_server(max_items=1) as server:
        jobs = Client(server.address).queue("jobs")
        jobs.put("a")
        with pytest.raises(QueueFull):
            jobs.put("b")
    assert server._process.returncode == 0
    assert not Path(server.journal).exists()


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no_such_option"), running_server(no_such_option=1):
        pass
