"""``redqueue journal``: look into a journal, and rescue what is in it."""

from __future__ import annotations

from redqueue.cli.command import SubParsers, add_command
from redqueue.cli.journal import dump, salvage, stat, transfer, verify

ACTIONS = (dump, verify, stat, salvage, transfer)

DESCRIPTION = """
Look into a journal, and rescue what is in it. DIR is the directory that the server calls --logdir.

dump, verify, stat, salvage and export read only. They change nothing in DIR, and a server may use it meanwhile: they
read it as it was at one moment after their start. import writes, and wants a journal that no server uses.
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command and its actions."""
    parser = add_command(
        subparsers,
        "journal",
        None,
        summary="look into a journal, check it, rescue and move what is in it",
        description=DESCRIPTION,
        epilog="`redqueue journal ACTION --help` explains each; docs/journal-tools.md has examples.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for module in ACTIONS:
        module.add_parser(actions)
