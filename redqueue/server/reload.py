"""Reading the configuration again while the server runs: SIGHUP. All or nothing.

Everything that is read or opened is prepared first, in a thread. Only where all
of it is good is anything put in force, on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

from redqueue.config.configuration import Configuration
from redqueue.config.differences import Difference, differences, without_restart
from redqueue.config.kinds import BadOption
from redqueue.config.load import Sources
from redqueue.config.queue_tables import SETTINGS
from redqueue.options import Options
from redqueue.server.checks import check

log = logging.getLogger(__name__)

LINES = 100
"""Lines of the log written in one go."""

T = TypeVar("T")
Apply = Callable[[], object]
Prepare = Callable[[Options], Apply]


class Reload:
    """What can be put in force without a restart.

    :param sources: what the process was started with
    :param configuration: what is in force
    :param put_in_force: called with a new configuration, on the loop, behind all other parts; works step by step

    :ivar configuration: what is in force
    :ivar on_begin: called, on the loop, before anything is read; for systemd
    :ivar on_end: called when all is done, or has been refused
    """

    def __init__(
        self, sources: Sources, configuration: Configuration, put_in_force: Callable[[Configuration], Iterator[None]]
    ) -> None:
        self._sources = sources
        self.configuration = configuration
        self._put_in_force = put_in_force
        self._changeable = set(SETTINGS)
        self._parts: list[Prepare] = []
        self._lock = asyncio.Lock()
        self._started = self._asked = False
        self._next: asyncio.Task[None] | None = None
        self._under_way: asyncio.Task[None] | None = None
        self.on_begin: Callable[[], object] = _nothing
        self.on_end: Callable[[], object] = _nothing

    def add(self, prepare: Prepare, options: Iterable[str]) -> None:
        """Have something take part.

        :param prepare: called in a thread with the new options: reads and opens what they name, changes nothing, and
            returns what puts it in force, which is called on the loop and cannot fail, or is let go uncalled.
            It raises :class:`~redqueue.config.kinds.BadOption` where something is wrong. A part whose options have not
            changed takes part as well: the files that they name may have
        :param options: the names of those that it puts in force
        """
        self._parts.append(prepare)
        self._changeable.update(options)

    def start(self) -> None:
        """The server is ready for new settings; where they have been asked for, begin."""
        self._started = True
        if self._asked:
            self.begin()

    def begin(self) -> None:
        """Begin to reload, behind the start or a reload that is under way; what comes of it is in the log."""
        self._asked = True
        if self._started and self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._run_next())

    async def _run_next(self) -> None:
        try:
            await self.run()
        except BadOption:
            pass  # which is in the log
        except Exception:
            log.exception("reload: a defect in the server; please report it")

    async def run(self) -> list[Difference]:
        """Read everything again and put it in force; what that changes is returned, and logged.

        :raises BadOption: with all that is wrong, which is logged too; nothing has changed
        """
        async with self._lock:
            self._under_way, self._next = self._next, None  # who asks from here on wants what is written from here on
            self.on_begin()
            try:
                return await self._run()
            except BadOption as error:
                for line in str(error).splitlines():
                    log.error("reload: %s", line)
                log.error("reload: nothing has changed; correct that and reload again")
                raise
            finally:
                self.on_end()

    async def _run(self) -> list[Difference]:
        configuration, found, applies = await _in_thread(self._prepare)
        self.configuration = configuration
        for apply in applies:
            apply()
        for _ in self._put_in_force(configuration):
            await asyncio.sleep(0)
        for count, difference in enumerate(found, 1):
            (log.warning if difference.needs_restart else log.info)("reload: %s", difference)
            if not count % LINES:
                await asyncio.sleep(0)
        log.info("reload: done: %s", _summary(len(found)))
        return found

    def _prepare(self) -> tuple[Configuration, list[Difference], list[Apply]]:
        """What will be in force, what that changes, and what puts it in force."""
        path = self._sources.config_path()
        if path is not None and path.exists() and not path.is_file():
            raise BadOption(f"--config={path} cannot be read again: it is no regular file")
        after = self._sources.load()
        check(after)
        complaints: list[str] = []
        applies: list[Apply] = []
        for prepare in self._parts:
            try:
                applies.append(prepare(after.options))
            except BadOption as error:
                complaints.append(str(error))
        if complaints:
            raise BadOption("\n".join(complaints))
        found = differences(self.configuration, after, self._changeable)
        return without_restart(self.configuration, after, self._changeable), found, applies


async def _in_thread(function: Callable[[], T]) -> T:
    """What ``function`` returns or raises. Its thread does not keep the process from ending, should a disk hang."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def run() -> None:
        try:
            outcome = partial(future.set_result, function())
        except BaseException as error:
            outcome = partial(future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await future


def _summary(differences: int) -> str:
    if not differences:
        return "nothing is set otherwise than before"
    return "one difference" if differences == 1 else f"{differences} differences"


def _nothing() -> None:
    """Nobody is to be told."""
