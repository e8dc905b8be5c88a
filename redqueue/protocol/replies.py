"""What the server says, byte for byte (memcached's protocol.txt, CONTRACT section 7)."""

from __future__ import annotations

from typing import Final

STORED: Final = b"STORED\r\n"
NOT_STORED: Final = b"NOT_STORED\r\n"
EXISTS: Final = b"EXISTS\r\n"
NOT_FOUND: Final = b"NOT_FOUND\r\n"
DELETED: Final = b"DELETED\r\n"
TOUCHED: Final = b"TOUCHED\r\n"
OK: Final = b"OK\r\n"
END: Final = b"END\r\n"
RESET: Final = b"RESET\r\n"

ERROR: Final = b"ERROR\r\n"
BAD_FORMAT: Final = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK: Final = b"CLIENT_ERROR bad data chunk\r\n"
BAD_DELTA: Final = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NOT_A_NUMBER: Final = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
LINE_TOO_LONG: Final = b"CLIENT_ERROR line too long\r\n"
TOO_SLOW: Final = b"CLIENT_ERROR the command took too long to arrive\r\n"
TOO_LARGE: Final = b"SERVER_ERROR object too large for cache\r\n"
OUT_OF_MEMORY: Final = b"SERVER_ERROR out of memory storing object\r\n"
TOO_MANY_CONNECTIONS: Final = b"SERVER_ERROR too many open connections\r\n"
SHUTDOWN_DISABLED: Final = b"ERROR: shutdown not enabled\r\n"


def client_error(reason: str) -> bytes:
    """A ``CLIENT_ERROR`` line."""
    return b"CLIENT_ERROR %s\r\n" % reason.encode()
