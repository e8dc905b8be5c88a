"""``redqueue completion``: what a shell needs to complete commands, options and the names of queues."""

from __future__ import annotations

import argparse

from redqueue.cli.command import GOOD, CommandFailed, SubParsers, add_command

SHELLS = ("bash", "zsh", "fish")
MISSING = "completion needs the library argcomplete: pip install 'redqueue[cli]'"

DESCRIPTION = """
Print what a shell needs to complete commands, options and, asking the server, names of queues:

  bash  eval "$(redqueue completion bash)"           in ~/.bashrc
  zsh   eval "$(redqueue completion zsh)"            in ~/.zshrc, behind compinit
  fish  redqueue completion fish | source            in ~/.config/fish/config.fish
"""


def add_parser(subparsers: SubParsers) -> None:
    """Add the command."""
    parser = add_command(
        subparsers,
        "completion",
        run,
        summary="print what a shell needs to complete command lines",
        description=DESCRIPTION,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def run(options: argparse.Namespace) -> int:
    """Print it."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError:
        raise CommandFailed(MISSING) from None
    print(shellcode(["redqueue"], shell=options.shell))
    return GOOD


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, and exit."""
    try:
        from argcomplete import autocomplete
    except ImportError:
        raise CommandFailed(MISSING) from None
    autocomplete(parser, always_complete_options=False)
