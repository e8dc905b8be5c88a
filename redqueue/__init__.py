"""RedQueue: a durable queue server that speaks the memcached text protocol."""

__version__ = "0.1.0"
