r"""The journal of the RedQueue of 2010: a text file for each queue, NAME.log, the name quoted as in a URL.

    S TIMEOUT LENGTH\r\nPAYLOAD\r\n    an item was put
    B CLIENT\r\n                       CLIENT has taken the oldest item
    U CLIENT\r\n                       CLIENT is done with its item
    R CLIENT\r\n                       the item of CLIENT went back, to the end

B does not say which item. A server that was killed put the items of its clients back without writing it down, so behind
such a B nobody can tell for certain which item each later B took. Of all items that may be unacknowledged in any course
of events that fits the file none is left out here: the reader marks them doubtful, and a worker may get one again.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path
from urllib.parse import unquote_to_bytes

from redqueue.importers.item import Queue, SourceItem

_HEAD = re.compile(rb"S (\d+) (\d+)\r\n|([BUR]) (\S+)\r\n")
_OLDER_NAME = re.compile(r"(.+)-\d{9,10}\.log")


class _Taken:
    """A B: which item it took if nothing was put back unwritten, and how that ended."""

    def __init__(self, item: SourceItem) -> None:
        self.item = item
        self.end = b""


def read(directory: Path) -> list[Queue]:
    """The queues of a journal directory, each once. Files that were set aside as empty, NAME.log.TIME, are none."""
    files: dict[bytes, list[Path]] = {}
    for path in sorted(directory.glob("*.log")):
        older = _OLDER_NAME.fullmatch(path.name)
        name = older[1] if older else path.name.removesuffix(".log")
        files.setdefault(unquote_to_bytes(name.replace("+", " ")), []).append(path)
    return [_replay(name, b"".join(path.read_bytes() for path in paths)) for name, paths in files.items()]


def _replay(name: bytes, data: bytes) -> Queue:
    found = Queue(name)
    ready: deque[SourceItem] = deque()
    lent: dict[bytes, _Taken] = {}
    taken: list[_Taken | None] = []  # None for an R
    at = body = 0
    while at < len(data):
        head = _HEAD.match(data, at)
        end = head.end() if head else at
        if head and head[2]:
            size = int(head[2])
            if data[end + size : end + size + 2] == b"\r\n":
                ready.append(SourceItem(data[end : end + size], expires=float(head[1])))
                body = end
                end += size + 2
            else:
                head = None
        if head is None:
            # A torn put may have swallowed the next record as its payload: look there too.
            following = _HEAD.search(data, body or max(end, at + 1))
            body = 0
            until = following.start() if following else len(data)
            if following is None:
                found.findings.append(f"a record that is not complete at byte {at}, {until - at} bytes long, left out")
            else:
                found.findings.append(f"damage at byte {at}; reading goes on at byte {until}")
            at = until
            continue
        at = end
        kind, client = head[3], head[4]
        body = 0 if kind is not None else body
        if kind == b"B":
            if not ready:
                found.findings.append(f"a client took an item from an empty queue, before byte {at}")
                continue
            lent[client] = _Taken(ready.popleft())
            taken.append(lent[client])
        elif kind is not None:
            held = lent.pop(client, None)
            if held is None:
                found.findings.append(f"a client ended a reservation that it did not have, before byte {at}")
            elif kind == b"R":
                ready.append(held.item)
                held.end = b"R"
                taken.append(None)
            else:
                held.end = b"U"
    kept = _kept(taken)
    found.doubtful = sum(one.end == b"U" for one in kept)
    found.items = [one.item for one in kept] + list(ready)
    if found.doubtful:
        found.findings.append(f"{found.doubtful} of the items may have been acknowledged; the file does not tell")
    return found


def _kept(taken: list[_Taken | None]) -> list[_Taken]:
    """What was taken and may be unacknowledged.

    Each B without an end puts off what the later ones took by one item at most: in the order of the Bs an item that was
    taken as the last but N, or N before a B without an end, may be alive, where there are N such Bs. A give-back
    among them changes the order too; then only what was taken before the first of them is certain.
    """
    first = next((i for i, one in enumerate(taken) if one is not None and not one.end), len(taken))
    later = taken[first:]
    ones = [one for one in later if one is not None]
    open_at = [i for i, one in enumerate(ones) if not one.end]
    if len(ones) == len(later):
        reach = len(open_at)
        near = {i - back for i in [*open_at, len(ones)] for back in range(reach + 1)}
        ones = [one for i, one in enumerate(ones) if i in near]
    return [one for one in ones if one.end != b"R"]
