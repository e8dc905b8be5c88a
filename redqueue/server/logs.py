"""The log: a handler that never waits, and the thread that writes what it is handed.

Standard error may be a pipe whose reader has stopped, and a file on a disk that
hangs. The loop hands its records over and goes on; where they come faster than
they can be written, some are dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path

from redqueue.config.kinds import BadOption
from redqueue.options import Options
from redqueue.server.log_lines import JournalLines, JsonLines, TextLines, fields_of, written_traceback
from redqueue.server.repeats import Repeats

MOST_WAITING = 10_000
"""Records that may wait to be written. The last tenth of the room is for errors."""
LAST_SECONDS = 2.0
"""How long the end of the server waits for the log to be written."""
STANDARD_ERROR = 2

_LOOK_SECONDS = 1.0
_MODE = 0o640

log = logging.getLogger("redqueue")


class Logs(logging.Handler):
    """The one handler of the process, on the root logger.

    Until :meth:`start` records are written where they are made: to standard
    error, as text, from level info on.

    :param standard_error: a descriptor

    :ivar dropped: records that were lost because they could not be written fast enough, or at all
    """

    def __init__(self, standard_error: int = STANDARD_ERROR) -> None:
        super().__init__()
        self._standard_error = standard_error
        self._directory = Path.cwd()
        self._level = logging.INFO
        self._file: FileIO | None = None
        self.formatter: logging.Formatter = self._text_lines(None)
        self._repeats = Repeats()
        self._waiting: deque[logging.LogRecord | Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = False
        self._ending = False
        self._unreported = 0
        self.dropped = 0

    def install(self) -> None:
        """Take all records of the process."""
        root = logging.getLogger()
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        root.addHandler(self)
        self.set_verbose(False)

    # -- settings -------------------------------------------------------------------

    def prepare(self, options: Options) -> Callable[[], None]:
        """Open what ``options`` name; the result puts it in force. A file is opened again each time.

        :raises BadOption: where that cannot be
        """
        file: FileIO | None = None
        if options.log_file:
            try:
                file = FileIO(self._directory / options.log_file, "a", opener=partial(os.open, mode=_MODE))
            except OSError as error:
                raise BadOption(f"log_file={options.log_file} cannot be opened: {error.strerror}") from None
        level = logging.DEBUG if options.verbose else getattr(logging, options.log_level.upper())

        def switch() -> None:
            if self._file is not None:
                self._file.close()
            self._file = file
            self.formatter = JsonLines() if options.log_format == "json" else self._text_lines(file)

        def apply() -> None:
            self._level = level
            self.set_verbose(False)
            self._hand_over(switch)

        return apply

    def _text_lines(self, file: FileIO | None) -> logging.Formatter:
        """What formats lines for people, who read them in systemd's journal where it has given us standard error."""
        journal = os.environ.get("JOURNAL_STREAM", "")
        if file is None and journal:
            with contextlib.suppress(OSError):
                found = os.fstat(self._standard_error)
                if journal == f"{found.st_dev}:{found.st_ino}":
                    return JournalLines()
        return TextLines()

    def set_verbose(self, verbose: bool) -> None:
        """Log everything, or what the options say; of other packages nothing under level info."""
        log.setLevel(logging.DEBUG if verbose else self._level)
        logging.getLogger().setLevel(max(logging.INFO, self._level))

    # -- records ----------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, "repeats", None)
        if kind is not None:
            fields = fields_of(record)
            origin = str(fields.get("origin") or str(fields.get("peer", "")).rpartition(":")[0])
            with self._changed:
                if not self._repeats.lets(kind, origin, record.levelno, time.monotonic()):
                    return
        try:
            record.msg, record.args = record.getMessage(), None
        except Exception:
            record.msg, record.args = f"{record.msg} (of which the arguments do not fit)", None
        if record.exc_info and record.exc_info[1]:
            record.exc_text = written_traceback(record.exc_info[1])
        record.exc_info = record.stack_info = None
        self._hand_over(record)

    def _hand_over(self, entry: logging.LogRecord | Callable[[], None]) -> None:
        with self._changed:
            if self._thread is None:
                self._write(entry)
                return
            if isinstance(entry, logging.LogRecord):
                room = MOST_WAITING if entry.levelno >= logging.ERROR else MOST_WAITING * 9 // 10
                if len(self._waiting) >= room:
                    self._lose()
                    return
            self._waiting.append(entry)
            self._changed.notify_all()

    def _lose(self) -> None:
        with self._changed:
            self.dropped += 1
            self._unreported += 1

    # -- the thread -----------------------------------------------------------------------

    def start(self) -> None:
        """Write in a thread from here on. Call it behind the last fork."""
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def flush(self, seconds: float = LAST_SECONDS) -> None:
        """Wait until all is written, but no longer than ``seconds``."""
        with self._changed:
            if self._thread is not None and not self._ending:
                self._changed.wait_for(lambda: not (self._waiting or self._writing), seconds)

    def close(self) -> None:
        """Write what is left, counts of repeats included, for a bounded time; what is logged later is lost."""
        with self._changed:
            thread = None if self._ending else self._thread
            self._ending = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(LAST_SECONDS)
        super().close()

    def _run(self) -> None:
        next_look = time.monotonic() + _LOOK_SECONDS
        while True:
            with self._changed:
                self._writing = False
                if not self._waiting:
                    self._changed.notify_all()
                    if not self._ending:
                        self._changed.wait(max(0.0, next_look - time.monotonic()))
                entry = self._waiting.popleft() if self._waiting else None
                self._writing = entry is not None
                lost, self._unreported = self._unreported, 0
            if lost and not self._write(_record(logging.WARNING, f"{lost} messages of the log could not be written")):
                self._unreported += lost
            if entry is not None and not self._write(entry):
                self._lose()
            now = time.monotonic()
            if now >= next_look:
                next_look = now + _LOOK_SECONDS
                self._write_repeats(now)
            if entry is None and self._ending:
                self._write_repeats(float("inf"))
                return

    def _write_repeats(self, now: float) -> None:
        with self._changed:
            due = list(self._repeats.due(now))
        for level, message, count in due:
            self._write(_record(level, message, repeated=count))

    def _write(self, entry: logging.LogRecord | Callable[[], None]) -> bool:
        """Write a record, or do what is to be done between two; returns False where that cannot be."""
        if not isinstance(entry, logging.LogRecord):
            entry()
            return True
        data = (self.format(entry) + "\n").encode("utf-8", "backslashreplace")
        fd = self._standard_error if self._file is None else self._file.fileno()
        try:
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:
                    select.select([], [fd], [])
        except OSError:
            return False
        return True


def _record(level: int, message: str, **fields: object) -> logging.LogRecord:
    return log.makeRecord(log.name, level, "", 0, message, (), None, extra={"fields": fields})
