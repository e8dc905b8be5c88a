"""RedQueue: a durable queue server that speaks the memcached text protocol."""

__version__ = "1.0.0"
