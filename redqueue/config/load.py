"""Where the options come from: the command line wins over the environment, and that over the file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from redqueue.config import command_line, queue_tables
from redqueue.config.command_line import nearest
from redqueue.config.configuration import DEFAULT, Configuration, Setting
from redqueue.config.kinds import BadOption
from redqueue.config.toml_file import TomlFile, text_in_file
from redqueue.engine.settings import QueueSettings, SettingsBook
from redqueue.options import OPTIONS, QUEUE_TABLES, Options

PREFIX = "REDQUEUE_"

_BY_NAME = {option.name: option for option in OPTIONS}
_ALIKE = 0.75
"""So alike is a variable that nobody knows to an option that it must have meant it. Others are none of ours, such as
what Kubernetes sets for a service of our name."""
_OF_TOOLS = {"COMPILE", "DELIVERIES", "FLAGS", "ID", "LOGIN", "PASSWORD", "QUEUE", "SERVER", "TOKEN"}
"""Variables of the build and of the command ``redqueue``, which are no options however alike."""


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Configuration:
    """What the command line, the environment and the file that they name set.

    ``--help`` and ``--version`` print and exit.

    :param arguments: the command line without the program's name
    :raises BadOption: with what to write instead, for each mistake
    """
    return Sources(arguments, environment).load()


class Sources:
    """The command line and the environment of the process, and the file that they name, which may be read again.

    :param arguments: the command line without the program's name
    :param environment: the variables
    :raises BadOption: where the command line holds something unknown

    :ivar action: ``check`` or ``print`` where the command line asks for that instead of a server, or empty
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        self._given, self.action = command_line.parse(arguments)
        self._environment = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
        self._config = self._given.get("config", self._environment.get(f"{PREFIX}CONFIG", ""))
        self._directory = Path.cwd()

    def config_path(self) -> Path | None:
        """The file, by its absolute path, or None."""
        return self._directory / self._config if self._config else None

    def load(self) -> Configuration:
        """What they set; the file is read anew.

        :raises BadOption: with what to write instead, for each mistake
        """
        complaints: list[str] = []
        settings = {option.name: Setting.read(option, option.default, DEFAULT) for option in OPTIONS}
        tables: dict[str, dict[str, Setting]] = {}
        path = self.config_path()
        if path is not None:
            try:
                tables = self._read_file(path, settings, complaints)
            except BadOption as error:
                complaints.append(str(error))
        self._read_environment(settings, complaints)
        _read_texts(self._given, {name: f"--{name}" for name in self._given}, settings, complaints)
        if complaints:
            raise BadOption("\n".join(complaints))
        try:
            options = Options(**{name: setting.value for name, setting in settings.items()})
        except BadOption as error:
            raise BadOption(_with_source(str(error), settings)) from None
        return Configuration(options, _book(options, tables), settings, tables)

    def _read_file(
        self, path: Path, settings: dict[str, Setting], complaints: list[str]
    ) -> dict[str, dict[str, Setting]]:
        """Take the options of the file into ``settings``; returns its tables of queues."""
        named_by = "--config" if "config" in self._given else f"{PREFIX}CONFIG"
        file = TomlFile(path, self._config, named_by)
        seen: dict[str, str] = {}
        for key, value in file.data.items():
            name = key.replace("-", "_")
            option = _BY_NAME.get(name)
            if key == QUEUE_TABLES and isinstance(value, dict):
                continue
            if option is None:
                file.complain((key,), f"unknown option {key!r}{nearest(name)}")
            elif name == "config":
                file.complain((key,), "unknown option 'config': a file names no other; give it on the command line")
            elif name in seen:
                file.complain((key,), f"{key} is there twice, on line {file.line(seen[name])} as {seen[name]}")
            else:
                seen[name] = key
                try:
                    settings[name] = Setting.read(option, text_in_file(option, value), file.place(key))
                except BadOption as error:
                    file.complain((key,), f"{key} {error}")
        tables = queue_tables.read(file)
        complaints += file.complaints()
        return tables

    def _read_environment(self, settings: dict[str, Setting], complaints: list[str]) -> None:
        variables = {option.name: PREFIX + option.name.upper() for option in OPTIONS}
        texts = {name: self._environment[shown] for name, shown in variables.items() if shown in self._environment}
        _read_texts(texts, variables, settings, complaints)
        for variable in sorted(self._environment.keys() - set(variables.values())):
            name = variable.removeprefix(PREFIX)
            if name in _OF_TOOLS:
                continue
            near = difflib.get_close_matches(name.lower(), _BY_NAME, n=1, cutoff=_ALIKE)
            if near:
                complaints.append(f"unknown option {variable}, did you mean {variables[near[0]]}?")


def _read_texts(
    texts: Mapping[str, str], shown: Mapping[str, str], settings: dict[str, Setting], complaints: list[str]
) -> None:
    for name, text in texts.items():
        try:
            settings[name] = Setting.read(_BY_NAME[name], text, shown[name])
        except BadOption as error:
            complaints.append(f"{shown[name]} {error}{_hint(shown[name], text)}")


def _with_source(complaint: str, settings: Mapping[str, Setting]) -> str:
    """What is wrong with options that do not go together, with where the first one of them is set."""
    name, _, what = complaint.partition(" ")
    return f"{settings[name].shown(name)} {what}" if name in settings else complaint


def _hint(shown: str, text: str) -> str:
    if shown.startswith(PREFIX) and text.startswith("tcp://"):
        return (
            "; Kubernetes sets it for a service of the name redqueue: "
            "have enableServiceLinks: false in the pod, or give the service another name"
        )
    return ""


def _book(options: Options, tables: Mapping[str, Mapping[str, Setting]]) -> SettingsBook:
    defaults = QueueSettings(**{name: getattr(options, name) for name in queue_tables.SETTINGS})
    return SettingsBook(
        defaults,
        {queue.encode(): {name: setting.value for name, setting in table.items()} for queue, table in tables.items()},
    )
