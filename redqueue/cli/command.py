"""What a sub-command is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

GOOD = 0
DAMAGED = 1
"""Done, as far as a damaged journal allows."""
PARTLY = 1
"""There was nothing to do, or only a part of it could be done; nothing is wrong with the command."""
CANNOT = 2
"""Not done: the command line is wrong, a file cannot be read, a journal is in use, no server answers."""

SubParsers = Any
"""What ``ArgumentParser.add_subparsers`` returns."""


class CommandFailed(Exception):
    """A command could not do what it was asked to.

    :ivar status: the exit status
    """

    def __init__(self, message: str, status: int = CANNOT) -> None:
        super().__init__(message)
        self.status = status


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and says the defaults of options that have one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if (
            action.option_strings
            and action.default not in (None, False, argparse.SUPPRESS)
            and "%(default)" not in text
        ):
            text += " (default: %(default)s)"
        return text


class Parser(argparse.ArgumentParser):
    """Takes optional arguments behind options too, where argparse has given them up already."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse."""
        found, rest = super().parse_known_args(args, namespace)
        action = self._late_argument()
        if rest and action is not None and getattr(found, action.dest, None) in (action.default, []):
            words: list[str] = []
            while rest and (action.nargs == "*" or not words) and not (rest[0].startswith("-") and rest[0] != "-"):
                words.append(rest.pop(0))
            if rest[:1] == ["--"] and action.nargs == "*":
                words += rest[1:]
                rest = []
            if words:
                setattr(found, action.dest, words if action.nargs == "*" else words[0])
        return found, rest

    def _late_argument(self) -> argparse.Action | None:
        """The last positional argument, where it is optional."""
        positionals = [action for action in self._actions if not action.option_strings]
        return positionals[-1] if positionals and positionals[-1].nargs in ("*", "?") else None


def add_command(
    subparsers: SubParsers,
    name: str,
    run: Callable[[argparse.Namespace], int] | None,
    *,
    summary: str,
    description: str,
    epilog: str = "",
) -> argparse.ArgumentParser:
    """A parser for the command ``name``.

    :param run: carries the command out; returns the exit status
    :param summary: what it does, in a line
    :param description: what it does, in full
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=description.strip(),
        epilog=epilog.strip(),
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser
