"""Tokens: numbers that stand for one delivery of one item.

A token is the number of the delivery, multiplied by an odd constant modulo
2**62: a bijection, so that no two deliveries share a token, and neighbouring
deliveries have nothing in common. Numbers start at the wall clock's
microseconds, so that they keep growing over restarts, and all that were ever
given lie in a narrow range: one in twenty thousand arbitrary numbers decodes
into it. Tokens stay under 2**63 because PHP, Java and others hand the cas
unique about as a signed integer.
"""

from __future__ import annotations

from typing import Final

_MODULUS: Final = 1 << 62
_MASK: Final = _MODULUS - 1
_FACTOR: Final = 0x1F3A_9C5D_7E24_68B7
_INVERSE: Final = pow(_FACTOR, -1, _MODULUS)
_FIRST: Final = 1_577_836_800_000_000
"""2020-01-01 in microseconds: no token is older."""


class Tokens:
    """Gives tokens and tells whether a number was ever one.

    :param wall_ns: the wall clock at start, nanoseconds since 1970
    """

    def __init__(self, wall_ns: int) -> None:
        self._next = max(wall_ns // 1000, _FIRST)

    def give(self) -> int:
        """A token never given before, between 1 and 2**62 - 1."""
        number = self._next
        self._next = number + 1
        return number * _FACTOR & _MASK

    def was_given(self, token: int) -> bool:
        """Whether ``token`` was given, by this server or before its last start."""
        return 0 < token < _MODULUS and _FIRST <= token * _INVERSE % _MODULUS < self._next
