"""``redqueue COMMAND ...``: finds the command, and turns what goes wrong into a message and an exit status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from importlib import import_module

from redqueue import __version__
from redqueue.access.users import BadUsers
from redqueue.cli.command import CANNOT, CommandFailed, Formatter, Parser
from redqueue.journal.lock import JournalInUse
from redqueue.journal.reader import NoJournal

COMMANDS = {
    "stats": "stats",
    "top": "top",
    "queues": "queues",
    "peek": "peek",
    "put": "put",
    "take": "take",
    "move": "move",
    "pause": "operators",
    "resume": "operators",
    "redrive": "operators",
    "flush": "operators",
    "drop": "operators",
    "readonly": "operators",
    "drain": "drain",
    "import": "importing",
    "bench": "bench",
    "journal": "journal",
    "passwd": "passwd",
    "completion": "completion",
}
"""The module of each command; it has ``add_parser(subparsers)``, which adds all commands that are in it."""
INTERRUPTED = 130


def parser(command: str = "") -> argparse.ArgumentParser:
    """The parser of the command line.

    :param command: the only one that is wanted; where there is none of that name, all are
    """
    top = Parser(
        prog="redqueue",
        description="Commands for those who run RedQueue. The server itself is redqueue_server.py.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"RedQueue {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    modules = [COMMANDS[command]] if command in COMMANDS else dict.fromkeys(COMMANDS.values())
    for module in modules:
        import_module(f"redqueue.cli.{module}").add_parser(subparsers)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    :param arguments: the command line, without the program's name
    :returns: the exit status, which the command's ``--help`` explains
    """
    if "_ARGCOMPLETE" in os.environ:
        import_module("redqueue.cli.completion").complete(parser())
    given = sys.argv[1:] if arguments is None else arguments
    options = parser(given[0] if given else "").parse_args(given)
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
