"""A TOML file whose values know the line on which they stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from redqueue.config.kinds import BadOption, Option

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

Keys = tuple[str, ...]

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_REMEDIES = (
    ("Invalid value", "text and quantities with a unit stand in quotation marks"),
    (
        "Expected newline or end of document after a statement",
        "text and quantities with a unit stand in quotation marks",
    ),
    ("Expected '=' after a key", "an option is written as name = value"),
    ("Cannot overwrite a value", "it is there twice"),
    ("Cannot declare", "it is there twice"),
)


class TomlFile:
    """What is in a TOML file, and what is wrong with it.

    :param path: of the file
    :param shown: the path as it is shown
    :param named_by: who names the file, for the message: an option or a variable
    :raises BadOption: where it cannot be read or is no TOML

    :ivar data: its content
    """

    def __init__(self, path: Path, shown: str, named_by: str = "--config") -> None:
        self._shown = shown
        self._complaints: list[tuple[int, str]] = []
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadOption(f"{named_by}={shown} cannot be read: {error.strerror}") from None
        try:
            self._text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise BadOption(
                f"{shown}:{line}: is not TOML: wants UTF-8, not the byte {content[error.start]:#04x}"
            ) from None
        try:
            self.data: dict[str, Any] = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise BadOption(self._misread(str(error))) from None

    def _misread(self, reason: str) -> str:
        place = _PLACE.search(reason)
        line = int(place[1]) if place and place[1] else self._text.count("\n") + 1
        what = _PLACE.sub("", reason)
        remedy = next((f"; {remedy}" for start, remedy in _REMEDIES if what.startswith(start)), "")
        return f"{self._shown}:{line}: is not TOML: {what}{remedy}"

    # -- lines --------------------------------------------------------------------

    def line(self, *keys: str) -> int:
        """The line of the value, or of the table, that ``keys`` lead to, from 1."""
        return self._lines.get(keys, 1)

    def place(self, *keys: str) -> str:
        """File and line of the value, or of the table, that ``keys`` lead to."""
        return f"{self._shown}:{self.line(*keys)}"

    @cached_property
    def _lines(self) -> Mapping[Keys, int]:
        found: dict[Keys, int] = {}
        for keys, line in _statements(self._text):
            found.setdefault(keys, line)
        return found

    # -- complaints -----------------------------------------------------------------

    def complain(self, keys: Keys, what: str) -> None:
        """Something is wrong with the value that ``keys`` lead to."""
        self._complaints.append((self.line(*keys), what))

    def complaints(self) -> list[str]:
        """All that is wrong, with file and line, in the order of the file."""
        return [f"{self._shown}:{line}: {what}" for line, what in sorted(self._complaints)]


def _statements(text: str) -> Iterator[tuple[Keys, int]]:
    """The keys that each statement of a good TOML document sets, and the line where it begins.

    Each statement is a TOML document of its own, and no part of one is: so lines are
    taken together until they are one, and the parser says what is in it.
    """
    table: Keys = ()
    statement, start = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            content = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _path(content)
            yield table, start
        else:
            for keys in _paths(content):
                yield table + keys, start
        statement, start = "", number + 1


def _path(content: Any) -> Keys:
    """The keys of the one table that a heading opens."""
    if isinstance(content, list):
        return _path(content[0])
    for key, value in content.items():
        return (key, *_path(value))
    return ()


def _paths(content: Mapping[str, Any]) -> Iterator[Keys]:
    for key, value in content.items():
        yield (key,)
        if isinstance(value, dict):
            for keys in _paths(value):
                yield (key, *keys)


def text_in_file(option: Option, value: object) -> str:
    """The value of an option in a file as one would write it on the command line.

    :raises BadOption: where it is nothing that an option can be
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (str, int, float)):
        kind = "list" if isinstance(value, list) else "table" if isinstance(value, dict) else "date or time"
        raise BadOption(f"wants {option.form}, not a {kind}")
    return str(value)
