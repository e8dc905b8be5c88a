"""The end of a server whose journal still has something to do."""

from __future__ import annotations

from pathlib import Path

from tests.server_in_process import InProcessServer


def test_an_end_in_the_middle_of_a_compaction(tmp_path: Path) -> None:
    """What it has read for that comes when the journal is closed, and must not be written any more."""
    server = InProcessServer(tmp_path)
    client = server.connect()
    assert server.commit.compactor is not None
    assert client.put(b"parked", b"parked") == b"STORED\r\n"
    for _ in range(40):
        client.send(b"set q 0 0 500\r\n%s\r\nget q\r\ndelete q\r\n" % bytes(500))
        while not server.commit.compactor._is_reading and server.step():
            pass
        if server.commit.compactor._is_reading:
            break
    assert server.commit.compactor._is_reading, "an item is being read to be copied"
    server.commit.when_idle(server._end)
    while server.calls:
        server.calls.popleft()()
    server.run()
    assert server.health() == "ok"
    again = InProcessServer(tmp_path)
    assert again.connect().get(b"parked") == b"parked"
