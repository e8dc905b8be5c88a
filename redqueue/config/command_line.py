"""The command line of the daemon: its options as text, and ``--help``."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any

from redqueue import __version__
from redqueue.config.kinds import BadOption
from redqueue.options import OPTIONS

CHECK, PRINT = "check", "print"
_ACTIONS = {
    "--check-config": (CHECK, "say whether the options and all files that they name are good, and start nothing"),
    "--print-config": (PRINT, "print the options in force as a file for --config, each with where it comes from"),
}


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], str]:
    """The options on the command line, by name, as they are written; and what to do instead of serving, or nothing.

    ``--help`` and ``--version`` print and exit.

    :param arguments: the command line without the program's name
    :raises BadOption: with what to write instead
    """
    known, unknown = _parser().parse_known_args([_with_underscores(argument) for argument in arguments])
    if unknown:
        raise BadOption("\n".join(map(_unknown, unknown)))
    texts = vars(known)
    action = texts.pop("action") or ""
    return {name: text for name, text in texts.items() if text is not None}, action


def nearest(name: str) -> str:
    """A question for the option that ``name`` may have meant, or nothing."""
    near = difflib.get_close_matches(name, [option.name for option in OPTIONS], n=1)
    return f", did you mean {near[0]}?" if near else ""


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    name = "--" + name[2:].replace("-", "_")
    action = name.replace("_", "-")
    return (action if action in _ACTIONS else name) + equals + value


def _unknown(argument: str) -> str:
    if not argument.startswith("--"):
        return f"unexpected argument {argument!r}; options are written --name=value, see --help"
    name = argument[2:].partition("=")[0]
    return f"unknown option --{name}{nearest(name)}; see --help"


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
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        group = groups.get(option.group) or groups.setdefault(option.group, parser.add_argument_group(option.group))
        help_text = f"{option.help} (default: {option.default or 'none'})".replace("%", "%%")
        if option.is_switch:
            group.add_argument(f"--{option.name}", metavar=option.form, help=help_text, nargs="?", const="yes")
        else:
            group.add_argument(f"--{option.name}", metavar=option.form, help=help_text)
    for name, (action, help_text) in _ACTIONS.items():
        parser.add_argument(name, dest="action", action="store_const", const=action, help=help_text)
    parser.add_argument("--version", action="version", version=f"RedQueue {__version__}")
    return parser
