"""What clients make the log say again and again: the first time in full, then as a count.

A call says so by naming what is repeated, and among its fields who is at fault, a peer with its port or an origin:
``log.warning("...", extra={"repeats": "too long a line", "fields": {"peer": "192.0.2.1:1"}})``.
"""

from __future__ import annotations

from collections.abc import Iterator

SECONDS = 10.0
"""After the first record of a kind, others are counted for so long."""
MOST_PEERS = 10
"""So many addresses get a record of their own in that time; of all others there is a count."""
MOST_KINDS = 100

_ANY = "other complaints"


class Repeats:
    """Counts what is not to be logged in full.

    What it holds is bounded, whoever misbehaves. Moments are monotonic seconds.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def lets(self, kind: str, peer: str, level: int, now: float) -> bool:
        """Whether a record of ``kind`` about ``peer``, an address without its port, is to be logged in full."""
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = _ANY
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind(level, now + SECONDS)
        return found.lets(peer)

    def due(self, now: float) -> Iterator[tuple[int, str, int]]:
        """Take what has been counted for long enough: level, message and count of each kind."""
        for kind, found in list(self._kinds.items()):
            if found.ends <= now:
                del self._kinds[kind]
                if found.count:
                    yield found.level, f"{kind}: {found.count} more {found.culprits()}", found.count


class _Kind:
    __slots__ = ("count", "ends", "level", "peers")

    def __init__(self, level: int, ends: float) -> None:
        self.level = level
        self.ends = ends
        self.peers: dict[str, int] = {}
        self.count = 0

    def lets(self, peer: str) -> bool:
        if peer not in self.peers and len(self.peers) < MOST_PEERS:
            self.peers[peer] = 0
            return True
        self.count += 1
        if peer in self.peers:
            self.peers[peer] += 1
        return False

    def culprits(self) -> str:
        known = [f"{count} from {peer}" for peer, count in self.peers.items() if count and peer]
        others = self.count - sum(self.peers.values())
        if others:
            known.append(f"{others} from other addresses")
        return f"within {SECONDS:.0f} s" + (f" ({', '.join(known)})" if known else "")
