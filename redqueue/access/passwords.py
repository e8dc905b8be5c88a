"""Passwords as they are kept: hashed with scrypt (RFC 7914), in the notation of PHC strings.

``$scrypt$ln=14,r=8,p=5$SALT$HASH``: the cost N as a power of two, the block size,
the parallelization, then salt and hash in base64 without padding.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import scrypt
from os import urandom

LN, R, P = 14, 8, 5
"""What new hashes cost: 16 MB and a fifth of a second or so, as OWASP's Password Storage Cheat Sheet has it."""
SALT_SIZE = 16
HASH_SIZE = 32
MAX_PASSWORD = 256
"""Bytes."""
MOST_MEMORY = 256 << 20
"""Bytes that one computation may take; a hash that needs more is refused."""
MOST_P = 32

_PHC = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", re.ASCII)


class BadHash(ValueError):
    """No hash of a password; the message says what is wrong."""


@dataclass(frozen=True)
class PasswordHash:
    """A hashed password, and what computing it costs.

    :ivar ln: logarithm to base 2 of scrypt's N
    """

    ln: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def __str__(self) -> str:
        return f"$scrypt$ln={self.ln},r={self.r},p={self.p}${_base64(self.salt)}${_base64(self.hash)}"

    def matches(self, password: bytes) -> bool:
        """Whether it is that of ``password``. Takes long, so call it in a thread; it lets other threads go on."""
        return hmac.compare_digest(_compute(password, self.salt, self.ln, self.r, self.p, len(self.hash)), self.hash)

    @property
    def cost(self) -> int:
        """How much work computing it is, in blocks."""
        return (1 << self.ln) * self.r * self.p

    def decoy(self) -> PasswordHash:
        """A hash of the same cost that no password matches, for users that there are not."""
        return PasswordHash(self.ln, self.r, self.p, urandom(len(self.salt)), urandom(len(self.hash)))


def hash_password(password: bytes, *, ln: int = LN, r: int = R, p: int = P) -> PasswordHash:
    """Hash a password with a new salt. Takes long, as :meth:`PasswordHash.matches`."""
    salt = urandom(SALT_SIZE)
    return PasswordHash(ln, r, p, salt, _compute(password, salt, ln, r, p, HASH_SIZE))


def parse_hash(text: str) -> PasswordHash:
    """The hash that is written as ``text``.

    :raises BadHash: for what is none, or costs too much
    """
    match = _PHC.fullmatch(text)
    if not match:
        raise BadHash("wants a hash such as $scrypt$ln=14,r=8,p=5$SALT$HASH")
    ln, r, p = int(match[1]), int(match[2]), int(match[3])
    if 0 in (ln, r, p) or p > MOST_P or _memory(ln, r, p) > MOST_MEMORY:
        raise BadHash(f"has a hash that takes over {MOST_MEMORY >> 20} MB, or p over {MOST_P}, or a 0 in ln, r or p")
    try:
        salt, digest = _bytes(match[4]), _bytes(match[5])
    except ValueError:
        raise BadHash("has salt or hash that are not base64") from None
    if not 8 <= len(salt) <= 64 or not 16 <= len(digest) <= 64:
        raise BadHash("wants a salt of 8 to 64 bytes and a hash of 16 to 64")
    return PasswordHash(ln, r, p, salt, digest)


def _compute(password: bytes, salt: bytes, ln: int, r: int, p: int, size: int) -> bytes:
    return scrypt(password, salt=salt, n=1 << ln, r=r, p=p, maxmem=_memory(ln, r, p) + (1 << 20), dklen=size)


def _memory(ln: int, r: int, p: int) -> int:
    """Bytes that a computation takes."""
    return 128 * r * ((1 << ln) + p + 2)


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)
