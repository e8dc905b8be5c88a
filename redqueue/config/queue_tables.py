"""The settings of single queues: the tables ``[queue."NAME"]`` of the file that ``--config`` names.

What may stand in such a table are the options of the daemon that are settings
of a queue, with the same units and ranges. What a table does not say is as the
options are.
"""

from __future__ import annotations

import difflib
from dataclasses import fields

from redqueue.config.configuration import Setting
from redqueue.config.kinds import BadOption, parse_queue
from redqueue.config.toml_file import TomlFile, text_in_file
from redqueue.engine.settings import QueueSettings
from redqueue.engine.topics import ANY, ONE, words
from redqueue.options import OPTIONS, QUEUE_TABLES

SETTINGS = {each.name for each in fields(QueueSettings) if each.init}
"""The options that are settings of a queue."""
_OPTIONS = {option.name: option for option in OPTIONS if option.name in SETTINGS}


def read(file: TomlFile) -> dict[str, dict[str, Setting]]:
    """The tables of a file, by name or pattern and setting; what is wrong with them, the file is told."""
    tables = file.data.get(QUEUE_TABLES, {})
    if not isinstance(tables, dict):
        return {}
    return {name: _table(file, name, table) for name, table in tables.items()}


def _table(file: TomlFile, name: str, table: object) -> dict[str, Setting]:
    if not isinstance(table, dict):
        file.complain(
            (QUEUE_TABLES, name),
            f"{name} stands in [queue] itself; the settings of one queue go into a table with its name, such "
            f'as [queue."jobs"], and those of all queues to the top of the file',
        )
        return {}
    heading = f'[queue."{name}"]'
    wrong = _wrong_name(name)
    if wrong:
        file.complain((QUEUE_TABLES, name), f"{heading}: {wrong}")
        return {}
    settings: dict[str, Setting] = {}
    for key, value in table.items():
        keys = (QUEUE_TABLES, name, key)
        setting = key.replace("-", "_")
        option = _OPTIONS.get(setting)
        if option is None:
            file.complain(keys, f"{heading}: {_unknown(name, key, value)}")
        elif setting in settings:
            file.complain(keys, f"{heading}: {key} is there twice, once with a dash and once with an underscore")
        else:
            try:
                settings[setting] = Setting.read(option, text_in_file(option, value), file.place(*keys))
            except BadOption as error:
                file.complain(keys, f"{heading}: {key} {error}")
    if "dead_letter" in settings and settings["dead_letter"].value == name:
        keys = (QUEUE_TABLES, name, "dead_letter" if "dead_letter" in table else "dead-letter")
        file.complain(keys, f"{heading}: dead_letter wants another queue than this one; leave it out for {name}.dead")
    return settings


def _wrong_name(name: str) -> str:
    """Why no table can have this name, or nothing."""
    if not name:
        return "a table wants the name of a queue, or a pattern such as mail.*"
    try:
        parse_queue(name.replace("+", "."))
    except BadOption as error:
        return f"a table {error}"
    for word in words(name.replace("+", ".").encode()):
        if word not in (ONE, ANY) and (ONE in word or ANY in word):
            return (
                f"* and # stand for whole words between dots, as in mail.* for mail.in, and not for a part of one, "
                f"as in {word.decode()}"
            )
    return ""


def _unknown(name: str, key: str, value: object) -> str:
    if isinstance(value, dict):
        return f'a name with a dot wants quotation marks: [queue."{name}.{key}"]'
    if any(option.name == key.replace("-", "_") for option in OPTIONS):
        return f"{key} is an option of the whole server, and belongs at the top of the file"
    near = difflib.get_close_matches(key.replace("-", "_"), _OPTIONS, n=1)
    return f"unknown setting {key!r}, {f'did you mean {near[0]}?' if near else 'known are ' + ', '.join(_OPTIONS)}"
