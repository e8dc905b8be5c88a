"""The settings of single queues: the tables ``[queue."NAME"]`` of the file that ``--config`` names.

What may stand in such a table are the options of the daemon that are settings
of a queue, with the same units and ranges. What a table does not say is as the
options are.
"""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

from redqueue.config.kinds import BadOption, parse_queue
from redqueue.config.load import read_file, value_in_file
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.engine.topics import ANY, ONE, words
from redqueue.options import OPTIONS, QUEUE_TABLES, Options

_SETTINGS = {each.name for each in fields(QueueSettings) if each.init}
_OPTIONS = {option.name: option for option in OPTIONS if option.name in _SETTINGS}


def settings_book(options: Options) -> SettingsBook:
    """The settings of all queues, by the options and by the tables of the file that they name.

    :raises BadOption: with the file, the table, the setting and what to write instead
    """
    defaults = QueueSettings(**{name: getattr(options, name) for name in _SETTINGS})
    if not options.config:
        return SettingsBook(defaults)
    path = Path(options.config)
    tables = read_file(path).get(QUEUE_TABLES, {})
    return SettingsBook(defaults, {name.encode(): _table(path, name, table) for name, table in tables.items()})


def _table(path: Path, name: str, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise BadOption(
            f"{path}: {name} stands in [queue] itself; the settings of one queue go into a table with its name, such "
            f'as [queue."jobs"], and those of all queues to the top of the file'
        )
    place = f'{path}: [queue."{name}"]'
    _check_name(name, place)
    settings: dict[str, Any] = {}
    for key, value in table.items():
        setting = key.replace("-", "_")
        option = _OPTIONS.get(setting)
        if option is None:
            raise BadOption(f"{place}: {_unknown(name, key, value)}")
        settings[setting] = value_in_file(option, value, f"{place}: {key}")
    if settings.get("dead_letter") == name:
        raise BadOption(f"{place}: dead_letter wants another queue than this one; leave it out for {name}.dead")
    return settings


def _check_name(name: str, place: str) -> None:
    if not name:
        raise BadOption(f"{place}: a table wants the name of a queue, or a pattern such as mail.*")
    try:
        parse_queue(name.replace("+", "."))
    except BadOption as error:
        raise BadOption(f"{place}: a table {error}") from None
    for word in words(name.replace("+", ".").encode()):
        if word not in (ONE, ANY) and (ONE in word or ANY in word):
            raise BadOption(
                f"{place}: * and # stand for whole words between dots, as in mail.* for mail.in, and not for a part "
                f"of one, as in {word.decode()}"
            )


def _unknown(name: str, key: str, value: object) -> str:
    if isinstance(value, dict):
        return f'a name with a dot wants quotation marks: [queue."{name}.{key}"]'
    if any(option.name == key for option in OPTIONS):
        return f"{key} is an option of the whole server, and belongs at the top of the file"
    near = difflib.get_close_matches(key.replace("-", "_"), _OPTIONS, n=1)
    return f"unknown setting {key!r}, {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(_OPTIONS)}"
