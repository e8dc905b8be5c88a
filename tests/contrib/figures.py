"""What the server says of its queues."""

from __future__ import annotations

import socket

from tests.server_process import ServerProcess


def figures(server: ServerProcess, queue: str) -> dict[str, int]:
    """What ``me`` says of a queue; zeros where it holds nothing."""
    with socket.create_connection((server.host, server.port), 10) as connection, connection.makefile("rwb") as stream:
        stream.write(b"me %b\r\n" % queue.encode())
        stream.flush()
        words = stream.readline().decode().split()[2:]
    found = {name: int(value) for name, value in (word.split("=") for word in words)}
    return {"items": 0, "reserved": 0, "delayed": 0, "consumers": 0, **found}


def queues_with_items(server: ServerProcess) -> set[str]:
    """The names of all queues that hold something."""
    with socket.create_connection((server.host, server.port), 10) as connection, connection.makefile("rwb") as stream:
        stream.write(b"stats queues\r\n")
        stream.flush()
        lines = []
        while (line := stream.readline().decode().strip()) != "END":
            lines.append(line.split()[1:])
    return {
        name.removeprefix("queue_").removesuffix("_bytes")
        for name, value in lines
        if name.endswith("_bytes") and not name.endswith("_mem_bytes") and value != "0"
    }
