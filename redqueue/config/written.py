"""A configuration as a TOML file, which ``--config`` reads: what is in force, or the sample with the defaults.

``python -m redqueue.config.written`` prints the sample, which is contrib/redqueue.toml.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping

from redqueue import __version__
from redqueue.config.configuration import Configuration, Setting
from redqueue.config.kinds import BadOption, Option, parse_limit, parse_switch, parse_whole
from redqueue.options import OPTIONS, QUEUE_TABLES

_WIDTH = 116
_BY_NAME = {option.name: option for option in OPTIONS}
_SAMPLE_TABLES = """
# Settings of single queues, by name or by pattern: * stands for one word between dots, # for any number of them.
# All that is under "Settings of queues" may stand here. See docs/settings.md.

# [queue."jobs"]
# reserve_timeout = "10m"
# max_deliveries = 5

# [queue."mail.#"]
# retry_delay = "10s"
"""


def in_force(configuration: Configuration) -> str:
    """The options and the tables of queues, each with where it comes from.

    :raises BadOption: where a text holds what no file can hold
    """
    lines = [f"# The settings in force, of RedQueue {__version__}"]
    group = ""
    for option in OPTIONS:
        if option.group != group:
            group = option.group
            lines += ["", f"# {group}"]
        setting = configuration.settings[option.name]
        mark = "# " if option.name == "config" else ""  # which no file may name
        lines.append(f"{mark}{option.name} = {_value(option, setting.text, setting.source)}  # {setting.source}")
    for queue, table in configuration.tables.items():
        lines += ["", f"[{QUEUE_TABLES}.{_text(queue)}]", *_settings(table)]
    return "\n".join(lines) + "\n"


def _settings(table: Mapping[str, Setting]) -> Iterator[str]:
    for name, setting in table.items():
        yield f"{name} = {_value(_BY_NAME[name], setting.text, setting.source)}  # {setting.source}"


def sample() -> str:
    """A file with every option at its default, as a comment, and what it means."""
    lines = ["# RedQueue, as it comes: redqueue_server.py --config=redqueue.toml", *_commented(_SAMPLE_HEAD)]
    group = ""
    for option in OPTIONS:
        if option.name == "config":
            continue
        if option.group != group:
            group = option.group
            lines += ["", "", f"# -- {group} {'-' * (_WIDTH - 6 - len(group))}"]
        lines += ["", *_commented(option.help[0].upper() + option.help[1:] + f" ({option.form})")]
        lines.append(f"#{option.name} = {_value(option, option.default, option.name)}")
    return "\n".join(lines) + "\n" + _SAMPLE_TABLES


_SAMPLE_HEAD = (
    "Durations are seconds, or text with ms, s, m, h or d; sizes are bytes, or text with kb, mb or gb. The environment "
    "(REDQUEUE_PORT) and the command line (--port) win over this file. SIGHUP has it read again. "
    "--check-config says whether it is good."
)


def _commented(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _value(option: Option, text: str, source: str) -> str:
    """``text`` as a TOML value that is read as the same value of ``option``."""
    if option.parse is parse_switch:
        return "true" if parse_switch(text) else "false"
    if option.parse in (parse_whole, parse_limit):
        return str(option.parse(text))
    try:
        return _text(text)
    except UnicodeEncodeError:
        raise BadOption(f"{source}: {text!r} cannot stand in a file, which is UTF-8") from None


def _text(text: str) -> str:
    text.encode()
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


if __name__ == "__main__":
    print(sample(), end="")
