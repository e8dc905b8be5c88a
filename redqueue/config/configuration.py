"""All that is set: the options in force, the settings of queues, and where each comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redqueue.config.kinds import Option
from redqueue.engine.settings import SettingsBook
from redqueue.options import Options

DEFAULT = "default"
_LINE = re.compile(r":\d+$")


@dataclass(frozen=True)
class Setting:
    """One value that is set.

    :ivar text: as it was written
    :ivar source: who says so: the default, ``file:line``, the environment's variable or the flag
    """

    value: Any
    text: str
    source: str

    @classmethod
    def read(cls, option: Option, text: str, source: str) -> Setting:
        """What ``text`` sets ``option`` to.

        :raises BadOption: where it is nothing that is allowed
        """
        return cls(option.value(text), text, source)

    def shown(self, name: str) -> str:
        """Who says so and what, for a message; ``name`` is that of the option."""
        if self.source == DEFAULT:
            return name
        return f"{self.source}: {name}" if _LINE.search(self.source) else self.source


@dataclass(frozen=True)
class Configuration:
    """The options and the settings of queues.

    :ivar settings: by the name of the option
    :ivar tables: those of single queues, by name or pattern and setting
    """

    options: Options
    book: SettingsBook
    settings: Mapping[str, Setting]
    tables: Mapping[str, Mapping[str, Setting]]
