"""What the handlers of the web application work with."""

from __future__ import annotations

from dataclasses import dataclass

from redqueue.access.authenticator import Authenticator
from redqueue.options import Options
from redqueue.server.figures import ServerFigures
from redqueue.server.health import Health
from redqueue.server.local_client import LocalClients
from redqueue.server.web.access import AllowedHosts
from redqueue.server.web.history import History
from redqueue.server.web.metrics import Metrics


class Engine:
    """The server, once its journal is replayed.

    :param figures: what it has counted
    :param clients: those that live in the server itself
    """

    def __init__(self, figures: ServerFigures, clients: LocalClients, health: Health) -> None:
        self.figures = figures
        self.clients = clients
        self.history = History(figures.broker)
        self.metrics = Metrics(figures, health, figures.options.metrics_queues)


@dataclass
class Site:
    """The server, as the web sees it.

    :ivar authenticator: None where nobody is asked who they are
    :ivar engine: None while the journal is replayed
    """

    options: Options
    health: Health
    authenticator: Authenticator | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self.hosts = AllowedHosts(self.options.http_host, self.options.http_allowed_hosts)
