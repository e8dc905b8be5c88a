"""Where the options come from: the command line wins over the environment, and that over the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redqueue.config import command_line
from redqueue.config.command_line import nearest
from redqueue.config.kinds import BadOption, Option
from redqueue.options import OPTIONS, QUEUE_TABLES, Options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

_BY_NAME = {option.name: option for option in OPTIONS}


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options given by the command line, the environment and the file that ``--config`` names.

    ``--help`` and ``--version`` print and exit.

    :param arguments: the command line without the program's name
    :raises BadOption: with what to write instead
    """
    given = command_line.parse(arguments)
    from_environment = {
        option.name: environment[variable]
        for option in OPTIONS
        if (variable := f"REDQUEUE_{option.name.upper()}") in environment
    }
    values = {option.name: option.value(option.default) for option in OPTIONS}
    config = given.get("config", from_environment.get("config", ""))
    if config:
        values.update(_from_file(Path(config)))
    for texts, source in ((from_environment, "REDQUEUE_"), (given, "--")):
        for name, text in texts.items():
            shown = source + (name.upper() if source == "REDQUEUE_" else name)
            values[name] = _checked(_BY_NAME[name], text, shown)
    return Options(**values)


def _checked(option: Option, text: str, shown: str) -> Any:
    try:
        return option.value(text)
    except BadOption as error:
        raise BadOption(f"{shown} {error}") from None


def read_file(path: Path) -> dict[str, Any]:
    """What is in a TOML file.

    :raises BadOption: where it cannot be read or is none
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadOption(f"--config={path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"--config={path} is not TOML: {error}") from None


def _from_file(path: Path) -> dict[str, Any]:
    values = {}
    for key, value in read_file(path).items():
        if key == QUEUE_TABLES and isinstance(value, dict):
            continue
        name = key.replace("-", "_")
        option = _BY_NAME.get(name)
        if option is None or name == "config":
            raise BadOption(f"{path}: unknown option {key!r}{nearest(name)}")
        values[name] = value_in_file(option, value, f"{path}: {key}")
    return values


def value_in_file(option: Option, value: object, shown: str) -> Any:
    """The value of an option that a file gives as ``value``.

    :param shown: where it stands, for the message
    :raises BadOption: where it is none that is allowed
    """
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if not isinstance(value, (str, int, float)):
        raise BadOption(f"{shown} wants {option.form}, not a {type(value).__name__}")
    return _checked(option, str(value), shown)
