"""What each module and each line of a program had the device and the host do, as a tree and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Column, Table

from ..amounts import size
from .fitted import Fitted
from .models import LineRow, Report
from .tables import WORK, short, work_cells
from .work import DeviceWork

DEPTH = 3
_SHOWN = 40  # rows of the table by line
NO_LINES = (
    'the report has no lines, which only a traced program gives: run it as "ttreg run --trace t.json …", or under '
    'device_mode(trace="t.json"), and save its report anew'
)


@dataclass
class Node:
    """A module, what its own code called, and the modules below it."""

    name: str
    rows: list[LineRow] = field(default_factory=list)
    below: dict[str, Node] = field(default_factory=dict)

    @property
    def all_rows(self) -> list[LineRow]:
        """Its rows, and those of the modules below it."""
        return [*self.rows, *(row for node in self.below.values() for row in node.all_rows)]

    def calls(self, placement: str) -> int:
        """How many calls were placed so, here and below."""
        return sum(row.count for row in self.all_rows if row.placement == placement)

    @property
    def seconds(self) -> float:
        """The host's time for all of its calls."""
        return sum(row.seconds for row in self.all_rows)

    @property
    def work(self) -> DeviceWork | None:
        """What the device had to do, with the most memory that was held after a call as its peak."""
        found = [row for row in self.all_rows if row.work is not None]
        if not found:
            return None
        total = DeviceWork()
        for row in found:
            total = total.and_also(row.work or DeviceWork())
        return total.model_copy(update={"peak_bytes": max(max(r.memory_before, r.memory_after) for r in found)})

    def folded(self) -> Node:
        """The same tree, in which a module that only holds one other, as a list does, is one with it."""
        below = [node.folded() for node in self.below.values()]
        if not self.rows and len(below) == 1:
            return Node(f"{self.name}.{below[0].name}", below[0].rows, below[0].below)
        return Node(self.name, self.rows, {node.name: node for node in below})


def by_module(report: Report) -> list[Node]:
    """The outermost modules, forward and backward apart; what ran outside of all modules comes last."""
    roots: dict[tuple[bool, str, bool], Node] = {}
    for row in report.lines:
        title = (row.model or "outside of modules") + (", backward" if row.backward else "")
        node = roots.setdefault((not row.model, row.model, row.backward), Node(title))
        for part in filter(None, row.module.split(".")):
            node = node.below.setdefault(part, Node(part))
        node.rows.append(row)
    found = [node for key, node in sorted(roots.items(), key=lambda item: item[0][0])]
    return [Node(root.name, root.rows, {node.name: node.folded() for node in root.below.values()}) for root in found]


def table_by_module(report: Report, depth: int) -> Table:
    """The tree to a depth, each row with what lies below it."""
    table = Fitted(Column("module", overflow="fold"), least=4)
    for heading in ("device", "host", "ms", *WORK):
        table.add_column(heading, justify="right")
    for node, level in _walk(by_module(report), depth):
        placed = str(node.calls("device")), str(node.calls("host") or "")
        name = "  " * level + node.name
        table.add_row(escape(name), *placed, f"{node.seconds * 1e3:.1f}", *work_cells(node.work))
    return table


def _walk(nodes: list[Node], depth: int, level: int = 0) -> Iterator[tuple[Node, int]]:
    for node in nodes:
        yield node, level
        if level < depth:
            yield from _walk(list(node.below.values()), depth, level + 1)


def columns_by_line(report: Report) -> tuple[list[tuple[str, ...]], int]:
    """The calls by line of Python, those that took longest first, as columns; and how many rows are left out."""
    columns: list[tuple[str, ...]] = [("line", "module", "op", "where", "calls", "ms", "ttnn calls", "memory")]
    rows = sorted((row for row in report.lines if row.placement != "view"), key=lambda row: -row.seconds)
    for row in rows[:_SHOWN]:
        names = ", ".join(f"{name} {count}" if count > 1 else name for name, count in row.device_calls.items())
        where = row.placement + (", backward" if row.backward else "")
        counted = str(row.count), f"{row.seconds * 1e3:.1f}"
        columns.append((short(row.line), row.module or row.model, row.op, where, *counted, names, memory(row)))
    return columns, len(rows[_SHOWN:])


def memory(row: LineRow) -> str:
    """The device's memory before a call, and what the call added."""
    change = row.memory_after - row.memory_before
    return size(row.memory_before) + (f" {'+' if change > 0 else '-'}{size(abs(change))}" if change else "")
