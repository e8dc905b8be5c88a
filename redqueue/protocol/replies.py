"""What the server says, byte for byte (memcached's protocol.txt, CONTRACT section 7)."""

from __future__ import annotations

STORED = b"STORED\r\n"
NOT_STORED = b"NOT_STORED\r\n"
EXISTS = b"EXISTS\r\n"
NOT_FOUND = b"NOT_FOUND\r\n"
DELETED = b"DELETED\r\n"
TOUCHED = b"TOUCHED\r\n"
OK = b"OK\r\n"
END = b"END\r\n"
RESET = b"RESET\r\n"

ERROR = b"ERROR\r\n"
BAD_FORMAT = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
LINE_TOO_LONG = b"CLIENT_ERROR line too long\r\n"
TOO_SLOW = b"CLIENT_ERROR the command took too long to arrive\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
OUT_OF_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"
TOO_MANY_CONNECTIONS = b"SERVER_ERROR too many open connections\r\n"
SHUTDOWN_DISABLED = b"ERROR: shutdown not enabled\r\n"


def client_error(reason: str) -> bytes:
    """A ``CLIENT_ERROR`` line."""
    return b"CLIENT_ERROR %s\r\n" % reason.encode()
