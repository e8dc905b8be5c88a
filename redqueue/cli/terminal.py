"""Tables and progress. With the library rich, and on a terminal, they are nicer; without, they say the same."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

Progress = Callable[[int, int], None]
"""Called with (done, of so many in all); 0 in all where that is not known."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on standard output: the first column to the left, numbers to the right."""
    if sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text

            table = Table(box=None, header_style="bold")
            for i, column in enumerate(columns):
                table.add_column(column, justify="right" if i else "left", overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            Console().print(table)
            return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


@contextlib.contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A progress bar on standard error, where that is a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress as Bars
    except ImportError:
        line = _Line(what)
        try:
            yield line.show
        finally:
            line.end()
        return
    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what)

        def update(done: int, total: int) -> None:
            bars.update(
                task, completed=done, total=total or None, description=what if total else f"{what}: {done} items"
            )

        limited = _Limited(update)
        yield limited.show


class _Limited:
    """Passes a report on ten times a second at most."""

    def __init__(self, show: Progress) -> None:
        self._show = show
        self._next = 0.0

    def show(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next or 0 < total <= done:
            self._next = now + 0.1
            self._show(done, total)


class _Line(_Limited):
    """A line that is written over."""

    WIDTH = 30

    def __init__(self, what: str) -> None:
        super().__init__(self._draw)
        self._what = what
        self._drawn = 0

    def _draw(self, done: int, total: int) -> None:
        if total:
            part = min(1.0, done / total)
            line = f"{self._what} [{'#' * int(part * self.WIDTH):<{self.WIDTH}}] {part:4.0%}"
        else:
            line = f"{self._what}: {done} items"
        sys.stderr.write("\r" + line)
        sys.stderr.flush()
        self._drawn = len(line)

    def end(self) -> None:
        """Leave nothing behind."""
        if self._drawn:
            sys.stderr.write("\r" + " " * self._drawn + "\r")
            sys.stderr.flush()
