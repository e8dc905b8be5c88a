"""How the commands write, and read, what is bytes and nanoseconds inside: names, payloads, moments."""

from __future__ import annotations

import base64
import binascii
import re
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from redqueue.cli.command import CommandFailed
from redqueue.config.kinds import BadOption, parse_duration

_NS = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MOST_NS = (1 << 64) - 1
_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})?")
_ESCAPE = re.compile(r"\\(\\|x[0-9a-fA-F]{2})|\\")


def show(data: bytes) -> str:
    r"""Bytes as text that a terminal can take: a backslash doubled, what is not printable UTF-8 as ``\xNN``."""
    if data.isascii() and (text := data.decode("ascii")).isprintable():
        return text.replace("\\", "\\\\")
    shown = []
    for char in data.decode("utf-8", "surrogateescape"):
        if char == "\\":
            shown.append("\\\\")
        elif char.isprintable():
            shown.append(char)
        else:
            shown += [f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape")]
    return "".join(shown)


def show_lines(data: bytes) -> str:
    r"""Bytes as text for a terminal, line by line: what is not printable UTF-8 as ``\xNN``, and the rest as it is."""
    return "\n".join(
        "\t".join("\\".join(map(show, cell.split(b"\\"))) for cell in line.split(b"\t")) for line in data.split(b"\n")
    )


def count(number: int, what: str) -> str:
    """So many of something, as in ``1 item`` and ``2 items``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def show_duration(seconds: float) -> str:
    """A duration for people, in its two largest units, as in ``1h 5m``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    left = int(seconds)
    shown: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or shown:
            shown.append(f"{count}{unit}" if count else "")
    return " ".join(filter(None, shown[:2]))


def show_size(size: float) -> str:
    """Bytes for people, as in ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def parse_shown(text: str) -> bytes:
    """The bytes that :func:`show` has written as ``text``.

    :raises CommandFailed: where it cannot have
    """

    def unescape(match: re.Match[str]) -> str:
        if match[1] is None:
            raise CommandFailed(f"a backslash in {text!r} wants to be doubled, or followed by xNN for a byte")
        if match[1] == "\\":
            return "\\"
        return bytes([int(match[1][1:], 16)]).decode("utf-8", "surrogateescape")

    return _ESCAPE.sub(unescape, text).encode("utf-8", "surrogateescape")


def show_time(nanoseconds: int) -> str:
    """A moment in UTC, exact to the nanosecond, as in ``2026-01-31T09:30:00.000000001Z``."""
    seconds, rest = divmod(nanoseconds, _NS)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"@{seconds}.{rest:09d}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z" if moment.year > 999 else f"@{seconds}.{rest:09d}"


def parse_time(text: str) -> int:
    """A moment as :func:`show_time` writes it, in nanoseconds; without a zone it is local time.

    :raises ValueError: where it is none
    """
    if match := re.fullmatch(r"@(\d{1,12})(?:\.(\d{1,9}))?", text):
        return int(match[1]) * _NS + int((match[2] or "").ljust(9, "0"))
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is no moment")
    zone = match[4] or ""
    moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}{'+00:00' if zone == 'Z' else zone}")
    seconds = int(moment.timestamp()) if moment.tzinfo is None else (moment - _EPOCH) // timedelta(seconds=1)
    found = seconds * _NS + int((match[3] or "").ljust(9, "0"))
    if not 0 <= found <= _MOST_NS:
        raise ValueError(f"{text!r} is out of range")
    return found


def moment_or_age(text: str) -> int:
    """For ``--since`` and ``--until``: a moment, or a duration before now.

    :raises CommandFailed: where it is neither
    """
    try:
        return parse_time(text)
    except ValueError:
        pass
    try:
        return max(0, time.time_ns() - int(parse_duration(text) * _NS))
    except BadOption:
        raise CommandFailed(
            f"{text!r} is no moment; write one as 2026-01-31T09:30:00Z (without the Z: local time), as @1769851800, "
            f"or as a duration before now, such as 15m or 2h"
        ) from None


def bytes_fields(name: str, data: bytes) -> dict[str, str]:
    """JSON fields for bytes: ``name`` with the text where they are UTF-8, else ``name_base64``."""
    try:
        return {name: data.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode("ascii")}


def bytes_of(fields: dict[str, Any], name: str) -> bytes:
    """The bytes that :func:`bytes_fields` wrote.

    :raises ValueError: with the reason, where they are missing or malformed
    """
    text, encoded = fields.get(name), fields.get(f"{name}_base64")
    if (text is None) == (encoded is None):
        raise ValueError(f"wants either {name} or {name}_base64")
    if text is not None:
        if not isinstance(text, str):
            raise ValueError(f"{name} wants to be a string")
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(f"{name} holds half a character; use {name}_base64 for bytes that are not text") from None
    try:
        return base64.b64decode(encoded, validate=True)  # type: ignore[arg-type]
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"{name}_base64 is not base64") from None
