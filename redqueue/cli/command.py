"""What a sub-command is made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

GOOD = 0
DAMAGED = 1
"""Done, as far as a damaged journal allows."""
CANNOT = 2
"""Not done: the command line is wrong, a file cannot be read, a journal is in use."""

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
    """Takes the optional argument FILE behind options too, where argparse has given it up already."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse."""
        found, rest = super().parse_known_args(args, namespace)
        if rest and not rest[0].startswith("-") and self.get_default("file") == getattr(found, "file", None):
            found.file = rest.pop(0)
        return found, rest


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
