"""What a line of the log looks like: text for people, JSON for programs. Neither ever holds what clients stored.

A call of the log may name fields: ``log.info("ready", extra={"fields": {"port": 1}})``.
In text they stand behind the message as ``port=1``, in JSON they are members.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Mapping

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = re.compile(r"[^\x00-\x20\x7f-\x9f\u2028\u2029\"'=]+")
_LEFT_OUT = "(the text is left out: it may hold what a client has sent)"


class TextLines(logging.Formatter):
    """``2026-01-31 12:00:00,123 INFO message field=value``, in local time; a traceback stands below."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname} {_escaped(record.getMessage())}{_written_fields(record)}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class JournalLines(logging.Formatter):
    """For systemd's journal, which has times of its own: the priority of sd-daemon(3) before each line."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{next(number for level, number in _PRIORITIES if record.levelno >= level)}>"
        lines = [_escaped(record.getMessage()) + _written_fields(record), *(record.exc_text or "").splitlines()]
        return "\n".join(priority + line for line in lines)


class JsonLines(logging.Formatter):
    """One object a line: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, the fields, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, object] = {
            "time": f"{when}.{int(record.created % 1 * 1000):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in fields_of(record).items():
            entry.setdefault(name, value if isinstance(value, (bool, int, float)) else shown(value))
        if record.exc_text:
            entry["exception"] = record.exc_text
        return json.dumps(entry)


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """The fields that the call has named."""
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


def _written_fields(record: logging.LogRecord) -> str:
    return "".join(f" {name}={_quoted(shown(value))}" for name, value in fields_of(record).items())


def shown(value: object) -> str:
    """A field's value as text; bytes are a name."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def written_traceback(error: BaseException) -> str:
    """The traceback of ``error`` and of those it came from, without texts that may quote what a client has sent."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None and len(parts) < 10:
        text = _LEFT_OUT if isinstance(link, (ValueError, KeyError)) else str(link)
        frames = "".join(traceback.format_tb(link.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(link).__name__}: {text}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "\nwhich led to this:\n".join(reversed(parts))


def _escaped(text: str) -> str:
    """``text`` in one line that does nothing to a terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(_CONTROL.sub("?", text), ensure_ascii=False)
