"""`ttreg bench`: how long the calls of ops take."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import TtregError
from .shared import (
    Command,
    Json,
    Ops,
    answer,
    bad_usage,
    check_ops,
    check_plot,
    console,
    errors,
    print_json,
    table,
    tracked,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench.calls import Shapes
    from ..bench.compare import Change
    from ..bench.ops import Benchmark, Time


def bench(
    ops: Ops = None,
    shapes: Annotated[
        str, typer.Option(help="samples: the entries' own; real: what real models give them; both.")
    ] = "samples",
    rounds: Annotated[int, typer.Option(min=1, help="Calls that are timed, each way.")] = 20,
    arch: Annotated[str, typer.Option(help="wormhole_b0 or blackhole.")] = "wormhole_b0",
    plot: Annotated[Path | None, typer.Option(help="Draw the ops' times into an SVG, PNG or PDF file.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Show what changed since the run whose --json this is.")] = None,
    json: Json = False,
) -> None:
    """Time the calls of ops on plain CPU, left to the host, emulated, and on a mocked chip.

    Times are in microseconds: medians of rounds that run the four in turn, in one thread on one core. A mocked chip has
    ttnn's host work and no device time. Changes between runs compare ratios to plain CPU of the same run. A change is
    shown if it is above 10 % and above the spread (the distance of the quartiles) of its times.
    """
    from ..bench.compare import changes, in_common
    from ..bench.ops import Benchmark, chosen, measure
    from ..bench.timing import machine
    from ..settings import ARCHS

    if shapes not in ("samples", "real", "both"):
        bad_usage(f"{shapes!r}; expected samples, real or both", "--shapes")
    if arch not in ARCHS:
        bad_usage(f"{arch!r}; expected {' or '.join(ARCHS)}", "--arch")
    check_ops(ops or ())
    if plot is not None:
        check_plot(plot)
    before = _read(compare) if compare is not None else None
    found = chosen(ops or (), cast("Shapes", shapes))
    if not found:
        bad_usage(f"the real models have no call of {', '.join(ops or ())} that runs on the device", "ops")
    rows = list(tracked(measure(found, arch, rounds), arch, len(found)))
    now = Benchmark(machine=machine(), taken=date.today().isoformat(), arch=arch, rounds=rounds, rows=rows)
    if plot is not None:
        _draw(now, plot)
    if json:
        print_json(now)
    elif before is None:
        _show(now)
    if before is not None:
        _show_changes(changes(before, now), in_common(before, now), errors() if json else console())
    failed = sum(bool(row.error) for row in rows)
    if failed:
        errors().print(f"{failed} of {len(rows)} calls failed")
    answer(not failed)


def _read(path: Path) -> Benchmark:
    from ..bench.compare import read_benchmark

    try:
        return read_benchmark(path)
    except TtregError as error:
        bad_usage(str(error), "--compare")


def _draw(benchmark: Benchmark, path: Path) -> None:
    from ..bench.plot import draw

    try:
        draw(benchmark, str(path))
    except OSError as error:
        bad_usage(f"cannot draw into {path}: {error}", "--plot")


def _show(benchmark: Benchmark) -> None:
    from rich.markup import escape

    from ..bench.ops import WAYS

    title = f"µs a call and the quartiles' distance, {benchmark.rounds} rounds, {benchmark.arch}"
    shown = table("op", "call", *WAYS.values(), title=title)
    for row in benchmark.rows:
        times = [row.error] if row.error else [_time(t) for t in (row.cpu, row.host, row.emulated, row.mock)]
        shown.add_row(row.op, escape(row.call), *map(escape, times))
    console().print(shown)


def _time(time: Time | None) -> str:
    return f"{time.microseconds:,.1f} ±{time.spread / 2:.0%}" if time is not None else ""


def _show_changes(found: list[Change], calls: int, out: Console) -> None:
    from rich.markup import escape

    shown = table("op", "call", "on", "before ÷ CPU", "now ÷ CPU", "change", "noise")
    for change in found:
        figures = (f"{change.before:.2f}", f"{change.now:.2f}", f"× {change.factor:.2f}", f"× {1 + change.noise:.2f}")
        shown.add_row(change.op, escape(change.call), change.way, *figures)
    if found:
        out.print(shown)
    out.print(f"{len(found)} changes beyond noise in {calls} calls that both runs have")


COMMAND = Command(
    "bench",
    bench,
    example="ttreg bench softmax --shapes real --compare before.json",
    no="a call failed",
    json="bench.ops:Benchmark",
)
