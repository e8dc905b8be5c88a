"""What is asked for while the frame of a flush is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server_in_process import InProcessServer


@pytest.mark.parametrize("flush", [b"flush q\r\n", b"flush_all\r\n"])
@pytest.mark.parametrize(
    ("request_line", "answer"), [(b"replace q 0 0 1\r\n8\r\n", b"NOT_STORED\r\n"), (b"incr q 1\r\n", b"NOT_FOUND\r\n")]
)
def test_the_flushed_head_is_not_rewritten(tmp_path: Path, flush: bytes, request_line: bytes, answer: bytes) -> None:
    """It was confirmed, was in no queue any more, and came back with the next start."""
    server = InProcessServer(tmp_path, sync=True)
    one, other = server.connect(), server.connect()
    assert one.put(b"q", b"7") == b"STORED\r\n"
    one.send(flush)
    while not server.log.busy:
        assert server.step()
    other.send(request_line)
    server.run()
    assert one.take() == b"OK\r\n"
    assert other.take() == answer
    one.send(flush + b"set q 0 0 1\r\n3\r\n" + flush)
    other.send(request_line)  # in one frame with those
    server.run()
    assert other.take() == answer
    assert server.log.live_items == sum(entry.live for entry in server.log.index.segments) == 0
    server.close()
    assert InProcessServer(tmp_path).recovered.live_items == 0
