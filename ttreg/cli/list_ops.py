"""`ttreg list`: the entries, a line each."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Annotated

import typer

from .shared import Command, Json, answer, bad_usage, complete_op, hint, import_torch, print_columns, print_json


class Placement(str, Enum):
    """Where an entry has its op run."""

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
    sort: Annotated[Order, typer.Option(help="By which column; numbers, the largest first.")] = Order.op,
    json: Json = False,
) -> None:
    """List the entries: where each op runs, on how many conditions, for which dtypes, and its samples."""
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
    rows.sort(key=lambda r: (-v if isinstance(v := getattr(r, sort.value), int) else v, r.op))
    if json:
        print_json(rows)
    elif rows:
        print_columns(
            [
                ("op", "family", "placement", "conditions", "samples", "dtypes"),
                *((r.op, r.family, r.placement, str(r.conditions), str(r.samples), " ".join(r.dtypes)) for r in rows),
            ]
        )
    counts = Counter(r.placement for r in rows)
    total = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    close = hint(patterns[0]) if patterns and not rows else ""
    typer.echo(f"{len(rows)} {'entry' if len(rows) == 1 else 'entries'}{': ' if total else ''}{total}{close}", err=True)
    answer(bool(rows))


COMMAND = Command(
    "list",
    list_ops,
    example="ttreg list conv --placement device --sort conditions",
    json="explain.catalogue:Row",
    json_form="an array",
    no="nothing matches",
)
