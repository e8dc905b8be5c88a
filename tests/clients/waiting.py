"""What ends a client's waiting get: a put by another connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server_process import ServerProcess, wait_until


@contextmanager
def put_once_it_waits(server: ServerProcess, queue: str, body: bytes) -> Iterator[None]:
    """Inside, a get of ``queue`` that waits is given ``body`` once it stands in line."""
    failures: list[BaseException] = []

    def put() -> None:
        try:
            with server.connect() as wire:
                name = queue.encode()
                wait_until(lambda: wire.stats(b"queue " + name).get("waiters") == "1", what="the waiter")
                assert wire.put(name, body) == b"STORED"
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    yield
    thread.join()
    assert not failures, failures[0]
