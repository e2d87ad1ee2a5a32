"""`ttreg coverage`: what a program would do on the device, without one."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .keywords import SAYS
from .report import show_difference
from .shared import Command, Json, answer, bad_usage, check_writable, console, print_json, table, tracked, working

if TYPE_CHECKING:
    from ..coverage.measure import Coverage
    from ..settings import Settings

_SHOWN, _GOT = 20, 3  # rows of a table, and what was met in one of them


def coverage(
    target: Annotated[
        str,
        typer.Argument(help="script.py, script.py:factory, package.module:factory, program.pt2 or calls.jsonl."),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of a script, options after --.")] = None,
    values: Annotated[
        bool, typer.Option("--run", help="Compute values on the host, for programs that look at them.")
    ] = False,
    min_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit code 1 if the device would run less, such as 0.95.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help=SAYS["precision"], show_default=False)] = None,
    float32: Annotated[str | None, typer.Option(help=SAYS["float32"], show_default=False)] = None,
    min_upload_numel: Annotated[str | None, typer.Option(help=SAYS["min_upload_numel"], show_default=False)] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Also estimate ttnn calls, programs, bytes, and a bound on device time.")
    ] = False,
    arch: Annotated[str | None, typer.Option(help=SAYS["arch"], show_default=False)] = None,
    save: Annotated[Path | None, typer.Option(help="Write the result as JSON, to compare with later.")] = None,
    compare: Annotated[Path | None, typer.Option(help="Say what changed since --save wrote this file.")] = None,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 1 if something is worse than in --compare.")
    ] = False,
    json: Json = False,
) -> None:
    """Say which calls of a program the device would run, and why not the others, without a device.

    A factory returns a model and its inputs, or a function to run; docs/coverage.md describes each form of TARGET.
    The share is the device's part of the calls that it would run or, with a floating-point input, leave to the host:
    not of views, of calls too small to bring, nor of those that are decomposed into others. Without --run, no value is
    computed that the device would compute: the program is followed to the first place that needs one. What it prints
    goes to stderr.
    """
    from ..coverage.baseline import changes, read_baseline
    from ..coverage.baseline import save as write_baseline
    from ..settings import Settings

    if fail_on_regression and compare is None:
        bad_usage("it needs a file to compare with", "--fail-on-regression")
    if save is not None:
        check_writable(save, "--save")
    before = None if compare is None else read_baseline(compare)
    given = {"precision": precision, "float32": float32, "min_upload_numel": min_upload_numel, "arch": arch}
    settings = Settings.resolve({name: value for name, value in given.items() if value is not None})
    with redirect_stdout(sys.stderr):
        made = _covered(target, arguments or [], settings, values, cost)
    if before is not None:
        made.difference = changes(before, made)
    if save is not None:
        write_baseline(made, save)
    if json:
        print_json(made)
    else:
        _show(made, compare)
    enough = _is_enough(made, min_share)
    answer(made.whole and enough and not (fail_on_regression and _is_worse(made, compare)))


def _covered(target: str, arguments: list[str], settings: Settings, values: bool, cost: bool) -> Coverage:
    from ..coverage.measure import cover, cover_calls
    from ..coverage.targets import existing
    from ..coverage.variations import read
    from .targets import check_takes_arguments, load

    if target.endswith(".jsonl"):
        check_takes_arguments(target, arguments)
        path = existing(target)
        with path.open("rb") as lines:
            total = sum(1 for line in lines if line.strip())
        return cover_calls(target, tracked(read(path), target, total), settings, cost)
    loaded = load(target, arguments)
    unknown = loaded.target.unknown if loaded.target is not None else ()
    with working(f"{target}: looking at its calls") if loaded.target is not None else nullcontext():
        return cover(target, lambda block: loaded.run(block).failed, settings, unknown, values, cost)


def _is_enough(made: Coverage, min_share: float | None) -> bool:
    """Whether the share is what --min-share asks for; says so if not."""
    if min_share is None or (made.share is not None and made.share >= min_share):
        return True
    share = "no share, as no call counts," if made.share is None else f"a share of {made.share:.1%}"
    typer.echo(f"--min-share: {share} is below {min_share:.1%}", err=True)
    return False


def _is_worse(made: Coverage, since: Path | None) -> bool:
    """Whether something is worse than it was; says so if it is."""
    worse = made.difference is not None and made.difference.is_worse
    if worse:
        typer.echo(f"--fail-on-regression: something is worse than in {since}", err=True)
    return worse


def _show(made: Coverage, since: Path | None) -> None:
    from rich.markup import escape

    from ..amounts import size
    from ..reporting.models import OpRow
    from ..reporting.tables import WORK, cost_lines, why, work_cells

    typer.echo(made.target)
    costs = cost_lines(made.cost, made.programs, made.device_calls)
    console().print(f"{made.totals}{costs}", markup=False)
    if made.cost_unknown:
        typer.echo(f"not in these figures: {', '.join(made.cost_unknown)}, whose ttnn calls depend on values")
    if made.stopped is not None:
        hint = "what follows is not covered; --run computes values on the host"
        typer.secho(f"stopped at {made.stopped.where}: {made.stopped.reason}; {hint}", fg="red")
    if made.failed:
        typer.secho(f"the program failed, what follows is not covered: {made.failed}", fg="red")
    for skipped in made.skipped[:_SHOWN]:
        typer.secho(f"line {skipped.line} is not counted: {skipped.reason}", fg="red")
    if len(made.skipped) > _SHOWN:
        typer.secho(f"nor are {len(made.skipped) - _SHOWN} other lines, which --json has", fg="red")
    refused = table("op", "calls", "inputs", "why")
    accepted = table("op", "calls", "inputs", "where", least=4)
    for shown in (refused, accepted):
        shown.columns[1].justify = "right"
    for heading in WORK[:-1] if made.cost is not None else ():
        accepted.add_column(heading, justify="right")
    for one in made.refusals[:_SHOWN]:
        got = ", ".join(one.got[:_GOT]) + (", …" if len(one.got) > _GOT else "")
        row = OpRow(op=one.op, placement="host", condition=one.condition, reason=one.reason, got=got)
        refused.add_row(one.op, str(one.count), size(one.bytes), escape(why(row)))
    others = [row for row in made.ops if row.placement != "host" and not row.is_bookkeeping]
    for other in others[:_SHOWN]:
        told = work_cells(other.work)[:-1] if made.cost is not None else []
        accepted.add_row(other.op, str(other.count), size(other.bytes), other.placement, *told)
    for title, shown, count in (
        ("not refused", accepted, len(others)),
        ("on the host, and why", refused, len(made.refusals)),
    ):
        if count:
            typer.echo(f"\n{title}")
            console().print(shown)
        if count > _SHOWN:
            typer.echo(f"and {count - _SHOWN} more, which --json has")
    if made.difference is not None:
        typer.echo(f"\nsince {since}")
        show_difference(made.difference)


COMMAND = Command(
    "coverage",
    coverage,
    example="ttreg coverage my_models.py:classifier --min-share 0.95",
    json="coverage.measure:Coverage",
    no="the share is below --min-share, something is worse with --fail-on-regression, or the program was not followed "
    "to its end",
)
