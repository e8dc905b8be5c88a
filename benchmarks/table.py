"""Tables of plain text that are Markdown as well."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table: the first column to the left, the others to the right.

    :param rows: as many cells each as there are headings
    """
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = (headings, rule, *rows)
    return "\n".join(
        "| "
        + " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    )
