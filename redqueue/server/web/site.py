"""What the handlers of the web application work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from redqueue.options import Options
from redqueue.server.figures import ServerFigures
from redqueue.server.health import Health
from redqueue.server.local_client import LocalClients
from redqueue.server.web.access import Access, AllowedHosts, OpenAccess


@dataclass
class Engine:
    """The server, once its journal is replayed."""

    figures: ServerFigures
    clients: LocalClients


@dataclass
class Site:
    """The server, as the web sees it.

    :ivar engine: None while the journal is replayed
    """

    options: Options
    health: Health
    access: Access = field(default_factory=OpenAccess)
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self.hosts = AllowedHosts(self.options.http_host, self.options.http_allowed_hosts)
