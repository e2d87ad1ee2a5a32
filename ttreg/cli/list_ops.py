"""`ttreg list`: the entries, a line each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Command, Json, answer, bad_usage, complete_op, hint, import_torch, print_columns, print_json

if TYPE_CHECKING:
    from ..explain.catalogue import Row


class Placement(str, Enum):
    """Where an entry runs its op."""

    device = "device"
    host = "host"
    decomposed = "decomposed"


class Order(str, Enum):
    """The columns that rows are sorted by."""

    op = "op"
    family = "family"
    placement = "placement"
    conditions = "conditions"
    samples = "samples"


def list_ops(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(help="Parts of op names, names with * and ?, or families.", autocompletion=complete_op),
    ] = None,
    family: Annotated[str | None, typer.Option(help="Only this family: a file of ops/.")] = None,
    placement: Annotated[Placement | None, typer.Option(help="Only what runs there.")] = None,
    worse_than: Annotated[
        float | None,
        typer.Option(min=0, help="Only entries whose worst relative error in float32, measured on a chip, is above."),
    ] = None,
    sort: Annotated[Order, typer.Option(help="By which column; numbers, the largest first.")] = Order.op,
    json: Json = False,
) -> None:
    """List the entries: where each op runs, on how many conditions, for which dtypes, and its samples.

    --worse-than goes by the largest error relative to the CPU's value, over an entry's float32 samples and on
    [-10, 10], and lists the worst first. It leaves out what was not measured, or before its lowering changed.
    """
    import_torch()
    from ..explain.catalogue import row
    from ..registry import registry
    from ..samples import one_thread

    families = sorted({entry.family for entry in registry})
    if family is not None and family not in families:
        bad_usage(f"no family is named {family}; known are {', '.join(families)}", "--family")
    entries = [e for e in registry.matching(patterns or ()) if family in (None, e.family)]
    with one_thread():
        rows = [row(e) for e in entries if placement is None or e.kind == placement.value]
    unknown = 0
    if worse_than is not None:
        rows, unknown = _worse_than(worse_than, rows)
    rows.sort(key=lambda r: (-v if isinstance(v := getattr(r, sort.value), int) else v, r.op))
    if worse_than is not None and sort is Order.op:
        rows.sort(key=lambda r: -(r.f32_error or 0))
    if json:
        print_json(rows)
    elif rows:
        print_columns([(*_HEADINGS, *_last(rows[0], "f32 error")), *map(_cells, rows)])
    counts = Counter(r.placement for r in rows)
    total = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    close = hint(patterns[0]) if patterns and not rows else ""
    typer.echo(f"{len(rows)} {'entry' if len(rows) == 1 else 'entries'}{': ' if total else ''}{total}{close}", err=True)
    if unknown:
        typer.echo(f"of {unknown} more with a lowering there is no figure in float32 that holds", err=True)
    answer(bool(rows))


_HEADINGS = ("op", "family", "placement", "conditions", "samples", "dtypes")


def _cells(row: Row) -> tuple[str, ...]:
    numbers = str(row.conditions), str(row.samples)
    last = _last(row, "" if row.f32_error is None else f"{row.f32_error:.2g}")
    return row.op, row.family, row.placement, *numbers, " ".join(row.dtypes), *last


def _last(row: Row, cell: str) -> tuple[str, ...]:
    """The cell of the last column, which exists only if the error was asked for."""
    return (cell,) if row.f32_error is not None else ()


def _worse_than(bound: float, rows: list[Row]) -> tuple[list[Row], int]:
    """The rows whose error is above the bound, and the number of rows whose error is unknown."""
    from ..measured import packaged

    known = packaged().figures
    of_device = [row for row in rows if row.placement == "device"]
    errors = [known[row.op, "float32"].worst_relative() if (row.op, "float32") in known else None for row in of_device]
    found = [replace(r, f32_error=e) for r, e in zip(of_device, errors, strict=True) if e is not None and e > bound]
    return found, errors.count(None)


COMMAND = Command(
    "list",
    list_ops,
    example="ttreg list conv --placement device --sort conditions",
    json="explain.catalogue:Row",
    json_form="an array",
    no="nothing matches",
)
