"""What is set otherwise than before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from redqueue.config.configuration import Configuration, Setting
from redqueue.options import OPTIONS, Options


@dataclass(frozen=True)
class Difference:
    """One setting that has changed.

    :ivar name: of the option, or the table and the setting, such as ``queue."jobs".ttl``
    :ivar needs_restart: whether the new value is in force only after a restart
    """

    name: str
    old: str
    new: str
    source: str
    needs_restart: bool = False

    def __str__(self) -> str:
        change = f"{self.name}: {self.old or 'nothing'} -> {self.new or 'nothing'} ({self.source})"
        return f"{change}; this needs a restart" if self.needs_restart else change


def differences(before: Configuration, after: Configuration, changeable: Collection[str]) -> list[Difference]:
    """What ``after`` says otherwise than ``before``.

    :param changeable: the names of the options that need no restart
    """
    return [*_of_options(before, after, changeable), *_of_tables(before.tables, after.tables)]


def _of_options(before: Configuration, after: Configuration, changeable: Collection[str]) -> Iterator[Difference]:
    for option in OPTIONS:
        old, new = before.settings[option.name], after.settings[option.name]
        if old.value != new.value:
            yield Difference(option.name, old.text, new.text, new.source, option.name not in changeable)


def _of_tables(
    before: Mapping[str, Mapping[str, Setting]], after: Mapping[str, Mapping[str, Setting]]
) -> Iterator[Difference]:
    for queue in {**before, **after}:
        old_table, new_table = before.get(queue, {}), after.get(queue, {})
        for name in {**old_table, **new_table}:
            old, new = old_table.get(name), new_table.get(name)
            if old is None or new is None or old.value != new.value:
                yield Difference(
                    f'queue."{queue}".{name}',
                    old.text if old else "",
                    new.text if new else "",
                    new.source if new else "no longer set",
                )


def without_restart(before: Configuration, after: Configuration, changeable: Collection[str]) -> Configuration:
    """``after``, in which the options that need a restart are as they were ``before``."""
    settings = {
        name: setting if name in changeable or setting.value == before.settings[name].value else before.settings[name]
        for name, setting in after.settings.items()
    }
    options: Options = replace(after.options, **{name: setting.value for name, setting in settings.items()})
    return replace(after, settings=settings, options=options)
