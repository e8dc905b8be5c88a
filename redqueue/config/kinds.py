"""What an option is, and the kinds of values that one may have: durations, sizes, numbers, switches, names.

A value is always read from text, as one would write it on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar


class BadOption(ValueError):
    """An option that cannot be used; the message says what to write instead, one line for each mistake."""


T = TypeVar("T")

MAX_NAME = 250
"""Bytes of a queue's name that a client can send."""
_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
_NO_NAME = re.compile(r"[\x00-\x20\x7f]")
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([a-z]*)")


def parse_duration(text: str) -> float:
    """Seconds: a number with ms, s, m, h or d behind it, or none for seconds."""
    return _quantity(text, _DURATION_UNITS, "a duration such as 300s, 250ms, 5m or 2h")


def parse_size(text: str) -> int:
    """Bytes: a number with kb, mb or gb behind it (powers of 1024), or none for bytes."""
    return int(_quantity(text, _SIZE_UNITS, "a size such as 512kb, 64mb or 1gb"))


def _quantity(text: str, units: Mapping[str, float], form: str) -> float:
    match = _QUANTITY.fullmatch(text.strip().lower())
    if not match or match[2] not in units:
        raise BadOption(f"wants {form}, not {text!r}")
    return float(match[1]) * units[match[2]]


def parse_whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[0-9]{1,15}", text.strip()):
        raise BadOption(f"wants a whole number, not {text!r}")
    return int(text)


def parse_limit(text: str) -> int:
    """A whole number, or 0 where there is none."""
    return parse_whole(text or "0")


def parse_queue(text: str) -> str:
    """The name of a queue, or nothing."""
    if _NO_NAME.search(text) or len(text.encode()) > MAX_NAME:
        raise BadOption(f"wants the name of a queue, up to {MAX_NAME} bytes without spaces, not {text!r}")
    if "+" in text:
        raise BadOption(f"wants the name of a queue that is nobody's child, not {text!r}")
    return text


def parse_switch(text: str) -> bool:
    """yes or no."""
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise BadOption(f"wants yes or no, not {text!r}")


def one_of(*words: str) -> Callable[[str], str]:
    """What takes one of ``words``."""

    def parse(text: str) -> str:
        if text not in words:
            raise BadOption(f"wants one of {', '.join(words)}, not {text!r}")
        return text

    return parse


@dataclass(frozen=True)
class Option:
    """One option.

    :ivar group: what it belongs to, as a heading
    :ivar default: as one would write it
    :ivar parse: makes its value of what was written
    :ivar form: what is written behind the ``=``, for the help
    """

    name: str
    group: str
    default: str
    parse: Callable[[str], Any]
    form: str
    help: str
    least: float | None = None
    most: float | None = None

    def value(self, text: str) -> Any:
        """The value that ``text`` stands for.

        :raises BadOption: where it stands for none that is allowed
        """
        value = self.parse(text)
        if self.least is not None and value < self.least:
            raise BadOption(f"wants at least {_written(self, self.least)}, not {text}")
        if self.most is not None and value > self.most:
            raise BadOption(f"wants at most {_written(self, self.most)}, not {text}")
        return value

    @property
    def is_switch(self) -> bool:
        """Whether it may stand alone on the command line, for yes."""
        return self.parse is parse_switch


def option(
    default: str, parse: Callable[[str], T], form: str, help: str, least: float | None = None, most: float | None = None
) -> T:
    """A field of a dataclass of options; the arguments are those of :class:`Option`."""
    declared = {"default": default, "parse": parse, "form": form, "help": help, "least": least, "most": most}
    return field(default_factory=lambda: parse(default), metadata=declared)


def _written(option: Option, number: float) -> str:
    """``number`` as one would write it for ``option``, in the largest unit that makes it whole."""
    if option.parse is parse_size:
        units: Mapping[str, int] = {"gb": 1 << 30, "mb": 1 << 20, "kb": 1 << 10}
    elif option.parse is parse_duration:
        units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
        if 0 < number < 1:
            return f"{number * 1000:g}ms"
    else:
        units = {}
    for unit, size in units.items():
        if number >= size and number % size == 0:
            return f"{number / size:.0f}{unit}"
    return f"{number:.0f}"
