"""Every option of the daemon, declared once: default, unit, range and help.

An option is set on the command line (``--segment_size=64mb``; dashes and
underscores alike), in the environment (``REDQUEUE_SEGMENT_SIZE=64mb``) or in a
TOML file named by ``--config`` (``segment_size = "64mb"``). The command line
wins over the environment, and that over the file.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redqueue import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]


class BadOption(ValueError):
    """An option that cannot be used; the message says what to write instead."""


_DURATION_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "g": 1 << 30, "gb": 1 << 30}
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


def parse_store(text: str) -> str:
    """The address of a cluster, which this version cannot use."""
    if text:
        raise BadOption(f"wants to be left empty, not {text!r}: this version has no cluster, the journal is the store")
    return text


def parse_switch(text: str) -> bool:
    """yes or no."""
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise BadOption(f"wants yes or no, not {text!r}")


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise BadOption(f"wants one of {', '.join(words)}, not {text!r}")
        return text

    return parse


@dataclass(frozen=True)
class Option:
    """One option.

    :ivar default: as one would write it
    :ivar parse: makes its value of what was written
    :ivar form: what is written behind the ``=``, for the help
    """

    name: str
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


OPTIONS = (
    Option("host", "127.0.0.1", str, "ADDRESS", "address or name to listen on; 0.0.0.0 for every IPv4 address"),
    Option(
        "port", "12345", parse_whole, "PORT", "port to listen on; 0: any free one, named in the ready line", 0, 65535
    ),
    Option("unix_socket", "", str, "PATH", "listen on this Unix socket as well; empty: none"),
    Option("logdir", "log", str, "DIR", "where the journal lives; made if missing"),
    Option(
        "reliable",
        "yes",
        _choice("no", "yes", "sync"),
        "no|yes|sync",
        "what a confirmed request survives: no: nothing, memory only; yes: kill -9 of the server (handed to the "
        "kernel before the reply); sync: power loss (fdatasync before the reply)",
    ),
    Option(
        "sync_interval",
        "1s",
        parse_duration,
        "DURATION",
        "with reliable=yes, how often the journal is synced in the background, which bounds what a power failure "
        "takes; 0: left to the kernel",
        0,
        3600,
    ),
    Option(
        "segment_size",
        "64mb",
        parse_size,
        "SIZE",
        "size of a journal file; the journal takes up to two of them and twice what is in the queues",
        64 << 10,
        1 << 30,
    ),
    Option(
        "memory",
        "256mb",
        parse_size,
        "SIZE",
        "bytes of items that all queues together hold in memory; what is more waits on the disk, in the journal, and "
        "is read back as its turn comes near; 0: no limit. Without a journal (reliable=no) everything is in memory",
        0,
    ),
    Option("max_item_size", "1mb", parse_size, "SIZE", "largest item taken", 1, 512 << 20),
    Option("max_connections", "0", parse_limit, "N", "most clients at a time; 0: as many as the system gives", 0),
    Option(
        "reserve_timeout",
        "300s",
        parse_duration,
        "DURATION",
        "a reserved item that is not acknowledged goes to the next worker after this long",
        0.001,
        86400 * 365,
    ),
    Option("prefetch", "1", parse_whole, "N", "items of a queue that one client may hold unacknowledged", 1, 1 << 30),
    Option(
        "wait", "0", parse_duration, "DURATION", "how long a plain get waits on an empty queue; 0: not at all", 0, 86400
    ),
    Option("max_items", "0", parse_whole, "N", "most items in a queue; 0: no limit", 0),
    Option("max_bytes", "0", parse_size, "SIZE", "most bytes of items in a queue; 0: no limit", 0),
    Option("store", "", parse_store, "URL", "address of a cluster; this version has none, the journal is the store"),
    Option("config", "", str, "FILE", "a TOML file with options, named as here"),
    Option("enable_shutdown", "no", parse_switch, "yes|no", "whether clients may end the server with `shutdown`"),
    Option("verbose", "no", parse_switch, "yes|no", "log more, as `verbosity 1` does"),
    Option(
        "salvage",
        "no",
        parse_switch,
        "yes|no",
        "start with a damaged journal: skip the damage and log what it cost; copy the journal first",
    ),
)
_BY_NAME = {option.name: option for option in OPTIONS}
_SWITCHES = {option.name for option in OPTIONS if option.parse is parse_switch}


@dataclass(frozen=True)
class Options:
    """The options in force. Durations are seconds, sizes bytes."""

    host: str
    port: int
    unix_socket: str
    logdir: str
    reliable: str
    sync_interval: float
    segment_size: int
    memory: int
    max_item_size: int
    max_connections: int
    reserve_timeout: float
    prefetch: int
    wait: float
    max_items: int
    max_bytes: int
    store: str
    config: str
    enable_shutdown: bool
    verbose: bool
    salvage: bool


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Options:
    """The options given by the command line, the environment and the file that ``--config`` names.

    ``--help`` and ``--version`` print and exit.

    :param arguments: the command line without the program's name
    :raises BadOption: with what to write instead
    """
    parser = _parser()
    known, unknown = parser.parse_known_args([_with_underscores(argument) for argument in arguments])
    for argument in unknown:
        raise BadOption(_unknown(argument))
    given = {name: text for name, text in vars(known).items() if text is not None}
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


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadOption(f"--config={path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadOption(f"--config={path} is not TOML: {error}") from None
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        option = _BY_NAME.get(name)
        if option is None or name == "config":
            raise BadOption(f"{path}: unknown option {key!r}{_nearest(name)}")
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if not isinstance(value, (str, int, float)):
            raise BadOption(f"{path}: {key} wants {option.form}, not a {type(value).__name__}")
        values[name] = _checked(option, str(value), f"{path}: {key}")
    return values


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _unknown(argument: str) -> str:
    if not argument.startswith("--"):
        return f"unexpected argument {argument!r}; options are written --name=value, see --help"
    name = argument[2:].partition("=")[0]
    return f"unknown option --{name}{_nearest(name)}; see --help"


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _BY_NAME, n=1)
    return f", did you mean {near[0]}?" if near else ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise BadOption(f"{message}; see --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="redqueue_server.py",
        description="RedQueue, a durable queue server that speaks the memcached text protocol.",
        epilog="Dashes and underscores are alike. Durations are in seconds or with ms, s, m, h, d; sizes in bytes or "
        "with kb, mb, gb (powers of 1024). Each option may also be set in the environment, as REDQUEUE_PORT=12345, "
        "or in the file that --config names; the command line wins over the environment, that over the file.",
        allow_abbrev=False,
    )
    for option in OPTIONS:
        default = option.default or "none"
        help_text = f"{option.help} (default: {default})".replace("%", "%%")
        if option.name in _SWITCHES:
            parser.add_argument(f"--{option.name}", metavar=option.form, help=help_text, nargs="?", const="yes")
        else:
            parser.add_argument(f"--{option.name}", metavar=option.form, help=help_text)
    parser.add_argument("--version", action="version", version=f"RedQueue {__version__}")
    return parser
