"""Makes the journals beside it, by the server that is here: ``python -m tests.journal.formats.make_journals``.

Each released version has a directory of its own, made when it was released and never again: the journals in it must
load for ever. ``plain`` was left by a server that was stopped, ``torn`` as by one that was killed while it wrote, and
``wiped`` by one that was told ``flush_all``. What they hold is in ``EXPECTED`` and ``WIPED``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from redqueue import __version__
from redqueue.journal import framing
from redqueue.journal import record as rec
from redqueue.journal import segment as seg
from tests.server_process import ServerProcess, Wire

HERE = Path(__file__).parent

CENTURY = 4102444800
"""1 January 2100, as a Unix time."""

WIPED = {b"jobs": [(1, b"after flush_all")]}
EXPECTED = {
    b"jobs": [
        (0, b"at the head"),
        (7, b"plain"),
        (4294967295, b"\x00binary\r\n\xff"),
        (2, b"expires in 2100"),
        (0, b""),
        (5, b"after a restart"),
    ],
    b"counter": [(9, b"42")],
    b"replaced": [(3, b"the new one")],
    b"swapped/to": [(0, b"next stage")],
    b"caf\xc3\xa9": [(0, b"a name in UTF-8")],
    b"flushed": [(0, b"after the flush")],
}
"""Flags and body of the items of each queue, in the order of their delivery."""


def main() -> None:
    """Make the journals of this version."""
    base = HERE / __version__
    plain = base / "plain"
    if base.exists():
        raise SystemExit(f"{base} is there already, and stays as it is")
    with ServerProcess(plain, prefetch=100) as server:
        with server.connect() as wire:
            fill(wire)
        server.stop()
        server.start()  # a second segment; queues get new numbers
        with server.connect() as wire:
            assert wire.put(b"jobs", b"after a restart", flags=5) == b"STORED"
            assert wire.ask(b"incr counter 1") == b"42"
            wire.get(b"done")
            assert wire.ask(b"delete done") == b"DELETED"
        server.stop()
    (plain / "lock").unlink()
    torn = Path(shutil.copytree(plain, base / "torn"))
    number, path = seg.list_segments(torn)[-1]
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(
            framing.encode_frame(number, end, 1, 0, 1, rec.put(9, 17, 1, 0, b"never confirmed"))[:-4] + bytes(100)
        )
    wiped = base / "wiped"
    with ServerProcess(wiped) as server:
        with server.connect() as wire:
            assert wire.put(b"jobs", b"before") == b"STORED"
            assert wire.ask(b"flush_all") == b"OK"
            assert wire.put(b"jobs", b"after flush_all", flags=1) == b"STORED"
        server.stop()
    (wiped / "lock").unlink()


def fill(wire: Wire) -> None:
    """Everything that one run of the server can leave in a journal."""

    def put(queue: bytes, body: bytes, verb: bytes = b"set", flags: int = 0, exptime: int = 0) -> None:
        assert wire.put(queue, body, flags, exptime, verb) == b"STORED"

    put(b"jobs", b"acknowledged")
    put(b"jobs", b"plain", flags=7)
    put(b"jobs", b"\x00binary\r\n\xff", flags=4294967295)
    put(b"jobs", b"expires in 2100", flags=2, exptime=CENTURY)
    put(b"jobs", b"expires at once", exptime=1)
    put(b"jobs", b"")
    assert wire.get(b"jobs")[0][2] == b"acknowledged"
    assert wire.ask(b"delete jobs") == b"DELETED"
    put(b"jobs", b"at the head", b"prepend")
    assert wire.get(b"jobs")[0][2] == b"at the head"  # reserved, and not acknowledged
    put(b"counter", b"40", flags=9)
    assert wire.ask(b"incr counter 1") == b"41"
    put(b"replaced", b"the old one")
    put(b"replaced", b"the new one", b"replace", flags=3)
    put(b"swapped/from", b"first stage")
    token = wire.get(b"swapped/from", b"gets")[0][3]  # type: ignore[misc]
    wire.send(b"cas swapped/to 0 0 10 %d\r\nnext stage\r\n" % token)
    assert wire.line() == b"STORED"
    put(b"caf\xc3\xa9", b"a name in UTF-8")
    put(b"flushed", b"before the flush")
    assert wire.ask(b"flush flushed") == b"OK"
    put(b"flushed", b"after the flush")
    put(b"done", b"acknowledged after the restart")


if __name__ == "__main__":
    main()
