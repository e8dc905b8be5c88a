"""Whether the server serves, and what an operator should know, in words."""

from __future__ import annotations

from redqueue.engine.broker import Broker
from redqueue.server.group_commit import GroupCommit


class Health:
    """What is wrong with a server, if anything."""

    def __init__(self) -> None:
        self._phase = "starting"
        self._replayed: tuple[int, int] | None = None
        self._broker: Broker | None = None
        self._commit: GroupCommit | None = None

    def watch(self, broker: Broker, commit: GroupCommit) -> None:
        """The journal is replayed: from here on there is an engine to look at."""
        self._broker, self._commit = broker, commit

    @property
    def phase(self) -> str:
        """What it does instead of serving, in words; empty while it serves."""
        if self._replayed is None:
            return self._phase
        done, total = self._replayed
        return f"replaying the journal: {100 * done // max(1, total)} %"

    @phase.setter
    def phase(self, phase: str) -> None:
        self._phase, self._replayed = phase, None

    def replaying(self, done: int, total: int) -> None:
        """So many bytes of the journal, of all, have been replayed. Called for each frame."""
        self._replayed = done, total

    def obstacles(self) -> list[str]:
        """Why the server should get no clients now; empty where it is ready for them."""
        reasons = [self.phase] if self.phase else []
        if self._broker is not None:
            reasons += filter(None, (self._broker.failure, self._broker.shortage, self._broker.over_limit))
            if self._broker.draining:
                reasons.append("draining: it takes no new items, gets and deletes go on")
        return reasons

    def reasons(self) -> list[str]:
        """:meth:`obstacles`, and what keeps no client away but needs an operator."""
        reasons = self.obstacles()
        if self._commit is not None and self._commit.compactor is not None and self._commit.compactor.failure:
            reasons.append(self._commit.compactor.failure)
        if self._broker is not None and self._broker.readonly:
            reasons.append("read-only, as an operator has said: it takes no new items")
        return reasons
