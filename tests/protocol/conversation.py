"""Sessions without a server: bytes in, replies out, ticks by hand."""

from __future__ import annotations

from collections.abc import Iterable

from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.protocol.commands import CODECS, COMMANDS
from redqueue.protocol.request import Requests
from redqueue.protocol.service import Service
from redqueue.protocol.session import COMMIT, OUTPUT, Session, deny
from tests.engine.list_journal import Engine


class FakeHost:
    """The server's part of ``stats`` and the like."""

    version = "1.2.3"

    def __init__(self) -> None:
        self.verbosity: list[int] = []
        self.shutdown_allowed = False
        self.was_reset = False
        self.was_shut_down = False

    def process_stats(self) -> Iterable[tuple[str, object]]:
        return [("pid", 1), ("version", self.version)]

    def setting_stats(self) -> Iterable[tuple[str, object]]:
        return [("prefetch", 1)]

    def connection_stats(self) -> Iterable[tuple[str, object]]:
        return [("1:addr", "test")]

    def reset_stats(self) -> None:
        self.was_reset = True

    def set_verbosity(self, level: int) -> None:
        self.verbosity.append(level)

    def shut_down(self) -> bool:
        self.was_shut_down = self.shutdown_allowed
        return self.shutdown_allowed


class Client:
    """One session and what it has been answered."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.session = Session(server.service, self)
        self.answers = b""
        self.paused = False

    def pause_input(self) -> None:
        self.paused = True

    def pause_input_until_commit(self) -> None:
        self.paused = True

    def resume_input(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.session.close()

    def send(self, data: bytes) -> None:
        """Hand bytes over without a tick."""
        self.session.receive(data)

    def say(self, data: bytes) -> bytes:
        """Send bytes, tick until all is quiet, and return what has been answered."""
        self.send(data)
        self.server.run()
        answers, self.answers = self.answers, b""
        return answers


class Server:
    """An engine on a list and its sessions."""

    def __init__(self, settings: QueueSettings | SettingsBook | None = None, max_item_size: int = 1 << 20) -> None:
        self.engine = Engine(settings)
        self.host = FakeHost()
        self.service = Service(self.engine.broker, Requests(COMMANDS, max_item_size), self.host, CODECS)
        self.fails = False

    def connect(self) -> Client:
        """A new client."""
        return Client(self)

    def tick(self) -> None:
        """Write the frame and send the replies, as the group commit does."""
        if self.engine.broker.has_changes() or self.engine.journal.open:
            if self.fails:
                for receipt in self.engine.fail():
                    deny(receipt)
            else:
                self.engine.commit()
        clients = list(self.service.served)
        self.service.served.clear()
        for client in clients:
            assert isinstance(client, Client)
            client.session.announced = False
            client.answers += b"".join(client.session.take_output())
            if client.session.stalled in (COMMIT, OUTPUT):
                client.session.resume()
                client.session.announce()
        for _ in range(len(self.service.turns)):
            self.service.turns.popleft().take_turn()

    def run(self) -> None:
        """Tick until nothing is left to do."""
        for _ in range(100_000):
            if not (self.service.served or self.service.turns or self.engine.broker.has_changes()):
                return
            self.tick()
        raise AssertionError("the server never comes to rest")

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self.engine.advance(seconds)
        self.run()
