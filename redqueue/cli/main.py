"""``redqueue COMMAND ...``: finds the command, and turns what goes wrong into a message and an exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys

from redqueue import __version__
from redqueue.access.users import BadUsers
from redqueue.cli import journal, passwd
from redqueue.cli.command import CANNOT, CommandFailed, Formatter, Parser
from redqueue.journal.lock import JournalInUse
from redqueue.journal.reader import NoJournal

COMMANDS = (journal, passwd)
"""The modules of the commands; each has ``add_parser(subparsers)``."""
INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = Parser(
        prog="redqueue",
        description="Commands for those who run RedQueue. The server itself is redqueue_server.py.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"RedQueue {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(subparsers)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    :param arguments: the command line, without the program's name
    :returns: the exit status, which the command's ``--help`` explains
    """
    options = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = int(options.run(options))
        sys.stdout.flush()
        return status
    except CommandFailed as error:
        return _say(str(error), error.status)
    except (NoJournal, JournalInUse, BadUsers) as error:
        return _say(str(error), CANNOT)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT
    except OSError as error:
        return _say(f"{error.filename}: {error.strerror}" if error.filename else str(error), CANNOT)
    except KeyboardInterrupt:
        return INTERRUPTED


def _say(message: str, status: int) -> int:
    sys.stdout.flush()
    print(f"redqueue: {message}", file=sys.stderr)
    return status
