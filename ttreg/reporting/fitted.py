"""Tables that a narrow terminal can show: no figure and no word of a name is cut."""

from __future__ import annotations

import re
from copy import copy
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table

_SHORT = 16  # characters of a cell that is never text
_NAME, _LEAST = 24, 8  # characters of a name, before columns are left out, and in the end


class Fitted(Table):
    """A table that wraps texts and breaks names at their dots, and leaves out its last columns if that is not enough.

    `least` columns always stay; all if that is None.
    """

    def __init__(self, *headings: Column | str, least: int | None = None, **options: Any) -> None:
        super().__init__(*headings, **options)
        self.least = least

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.columns:
            return
        fitted = copy(self)
        fitted.columns = [copy(column) for column in self.columns]
        for column in fitted.columns:
            column.no_wrap = not _is_text(column)
        if fitted._over(options.max_width, _NAME) > 0:
            fitted.columns = [_upright(column) for column in fitted.columns]
        dropped: list[str] = []
        least = len(self.columns) if self.least is None else self.least
        while (over := fitted._over(options.max_width, _NAME)) > 0 and len(fitted.columns) > least:
            dropped.insert(0, str(self.columns[len(fitted.columns) - 1].header))
            fitted.columns.pop()
        if over > 0:
            fitted._over(options.max_width, _LEAST)
        if dropped:
            fitted.caption = f"a wider terminal also shows: {', '.join(dropped)}"
            fitted.caption_justify = "left"
        yield from Table.__rich_console__(fitted, console, options)

    def _over(self, width: int, least: int) -> int:
        """Break names, down to `least` characters, until the table has that width; how much it is still too wide."""
        self.columns = [copy(column) for column in self.columns]
        wanted = [_wanted(column) for column in self.columns]
        over = sum(wanted) + self._extra_width + 2 * len(wanted) - width
        for place in sorted(range(len(wanted)), key=lambda at: -wanted[at]):
            column = self.columns[place]
            if over > 0 and not _is_text(column) and wanted[place] > least:
                room = max(least, wanted[place] - over)
                column._cells = [broken(cell, room) if isinstance(cell, str) else cell for cell in column._cells]
                over -= wanted[place] - _wanted(column)
        return over


def _cells(column: Column) -> list[str]:
    return [line for cell in column._cells for line in str(cell).splitlines()]


def _is_text(column: Column) -> bool:
    """Whether a column has what reads as well over more lines."""
    return any(len(cell) > _SHORT and " " in cell.strip() for cell in _cells(column))


def _wanted(column: Column) -> int:
    longest = max(map(len, [*_cells(column), *str(column.header).splitlines()]), default=0)
    return min(longest, _NAME) if _is_text(column) else longest


def _upright(column: Column) -> Column:
    """A copy with its heading over more lines, if it is wider than the rest."""
    made = copy(column)
    if len(str(column.header)) > max(map(len, _cells(column)), default=0):
        made.header = str(column.header).replace(" ", "\n")
    return made


def broken(name: str, room: int) -> str:
    """A name or path, broken or not, over as many lines as it needs: it ends them behind dots, underscores, slashes."""
    lines = [""]
    for part in re.findall(r"[^._/]*[._/]|[^._/]+", name.replace("\n", "")):
        for piece in (part[at : at + room] for at in range(0, len(part), room)):
            if lines[-1] and len(lines[-1]) + len(piece) > room:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)
