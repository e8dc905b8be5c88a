"""The memcached protocol without any I/O: bytes become requests, replies become bytes."""
