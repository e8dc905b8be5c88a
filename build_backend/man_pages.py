"""The manual pages redqueue(1) and redqueue_server(8), made of what the parsers and the table of options say.

``python build_backend/man_pages.py DIRECTORY`` writes them (``make man``); installing writes them too.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = "the server"
"""The group of options that is explained once."""
_ALIKE = re.compile(r"\n(exit status|environment):\n((?:  .*\n?)+)")
"""Parts of an epilog that make sections of their own."""

_FILES = """
.TP
.I log/
The journal, where
.B \\-\\-logdir
names no other directory.
"""


def write_pages(directory: Path) -> list[Path]:
    """Write the pages; returns their paths."""
    sys.path.insert(0, str(ROOT))
    try:
        from redqueue import __version__
        from redqueue.cli.main import parser
        from redqueue.options import OPTIONS
    finally:
        sys.path.remove(str(ROOT))
    directory.mkdir(parents=True, exist_ok=True)
    pages = {"redqueue.1": command_page(parser(), __version__), "redqueue_server.8": server_page(OPTIONS, __version__)}
    for name, text in pages.items():
        text = re.sub(r"^(\.S[HS] .*\n)\.PP\n", r"\1", text, flags=re.MULTILINE)
        (directory / name).write_text(text, encoding="utf-8")
    return [directory / name for name in pages]


def command_page(parser: argparse.ArgumentParser, version: str) -> str:
    """redqueue(1): a subsection for each command."""
    commands = [*_commands(parser)]
    environment: dict[str, None] = {}
    shared: dict[str, None] = {}
    parts = [
        _heading("REDQUEUE", 1, version, "Commands for those who run RedQueue"),
        ".SH NAME\nredqueue \\- watch, fill, empty and mend the queues of a RedQueue server\n",
        ".SH SYNOPSIS\n.B redqueue\n.I COMMAND\n.RI [ OPTION ...]\n",
        ".SH DESCRIPTION\n" + _text(str(parser.description)),
        ".SH COMMANDS\n",
    ]
    for command in commands:
        parts.append(f".SS {_escape(command.prog)}\n")
        of_server = [group for group in command._action_groups if group.title == SHARED]
        actions = [
            action for action in command._actions if all(action not in group._group_actions for group in of_server)
        ]
        for group in of_server:
            shared.update(dict.fromkeys(map(_argument, group._group_actions)))
        parts.append(_verbatim(_usage(command, actions) + (" [SERVER OPTION ...]" if of_server else "")))
        parts.append(_text(str(command.description or "")))
        parts += map(_argument, actions)
        rest = "\n" + (command.epilog or "") + "\n"
        for title, lines in _ALIKE.findall(rest):
            if title == "environment":
                environment.update(dict.fromkeys(lines.rstrip().splitlines()))
            else:
                parts.append(f".PP\nExit status:\n{_verbatim(lines)}")
        if other := _ALIKE.sub("", rest).strip():
            parts.append(_text(other))
    parts.append(".SH SERVER OPTIONS\nAll commands that talk to a running server have these.\n" + "".join(shared))
    parts.append(".SH ENVIRONMENT\n" + "".join(_entry(*_words(line)) for line in environment))
    parts.append(".SH SEE ALSO\n.BR redqueue_server (8)\n")
    return "".join(parts)


def server_page(options: tuple, version: str) -> str:
    """redqueue_server(8), of the table of options."""
    parts = [
        _heading("REDQUEUE_SERVER", 8, version, "RedQueue"),
        ".SH NAME\nredqueue_server.py \\- a durable queue server that speaks the protocols of memcached\n",
        '.SH SYNOPSIS\n.B redqueue_server.py\n.RB [ \\-\\-\\fIname\\fR=\\fIvalue\\fR " ...]"\n',
        ".SH DESCRIPTION\n",
        _text(
            "The server runs in the foreground and logs to standard error. It is ready for clients when it says so, "
            "and ends cleanly on SIGTERM and SIGINT. `set` appends an item to the queue that the key names, `get` "
            "reserves the oldest one, and `delete` acknowledges it."
        ),
        ".SH OPTIONS\n",
        _text(
            "Dashes and underscores are alike. Durations are in seconds or with ms, s, m, h, d; sizes in bytes or with "
            "kb, mb, gb (powers of 1024). Each option may also be set in the environment, as REDQUEUE_PORT=12345, or "
            "in the file that --config names; the command line wins over the environment, that over the file."
        ),
    ]
    group = None
    for option in options:
        if option.group != group:
            group = option.group
            parts.append(f".SS {_escape(group)}\n")
        parts.append(_entry(f"--{option.name}={option.form}", f"{option.help} (default: {option.default or 'none'})"))
    parts.append(".SS Others\n")
    parts.append(_entry("--help", "print all options, and end") + _entry("--version", "print the version, and end"))
    parts.append(".SH FILES" + _FILES + ".SH SEE ALSO\n.BR redqueue (1)\n")
    return "".join(parts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands, those that have commands of their own included."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from _commands(command)


def _usage(command: argparse.ArgumentParser, actions: list[argparse.Action]) -> str:
    formatter = argparse.HelpFormatter(command.prog, width=76)
    actions = [action for action in actions if not isinstance(action, argparse._HelpAction)]
    formatter.add_usage(command.usage, actions, command._mutually_exclusive_groups)
    lines = formatter.format_help().removeprefix("usage: ").rstrip().splitlines()
    return "\n".join([lines[0], *(line.removeprefix(" " * len("usage: ")) for line in lines[1:])])


def _argument(action: argparse.Action) -> str:
    """The entry of an argument or option; nothing for those that explain themselves."""
    if isinstance(action, (argparse._SubParsersAction, argparse._HelpAction)):
        return ""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices and action.metavar is None:
        metavar = "|".join(map(str, action.choices))
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {metavar}"
        name = ", ".join(option + value for option in action.option_strings)
    else:
        name = metavar
    text = action.help or ""
    if action.option_strings and action.default not in (None, False, argparse.SUPPRESS) and "(default" not in text:
        text += f" (default: {action.default})"
    return _entry(name, text % {"default": action.default} if "%(" in text else text)


def _heading(name: str, section: int, version: str, title: str) -> str:
    moment = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(moment), timezone.utc) if moment else datetime.now(timezone.utc)
    return f'.TH {name} {section} "{date:%Y-%m-%d}" "RedQueue {version}" "{title}"\n'


def _words(line: str) -> tuple[str, str]:
    name, _, text = line.strip().partition(" ")
    return name, text.strip()


def _entry(name: str, text: str) -> str:
    return f".TP\n.B {_escape(name)}\n{_escape(text)}\n"


def _text(text: str) -> str:
    """Paragraphs; what is indented stays as it is."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("  "):
            parts.append(_verbatim(paragraph))
        else:
            parts.append(".PP\n" + _escape(" ".join(paragraph.split())) + "\n")
    return "".join(parts).removeprefix(".PP\n")


def _verbatim(text: str) -> str:
    return ".PP\n.nf\n" + "".join(_escape(line) + "\n" for line in text.rstrip().splitlines()) + ".fi\n"


def _escape(text: str) -> str:
    """Text that roff takes for nothing else."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


if __name__ == "__main__":
    for path in write_pages(Path(sys.argv[1])):
        print(path)
