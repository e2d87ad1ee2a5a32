"""`ttreg bisect`: where a model loses precision."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, redirect_stdout
from inspect import Parameter
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import typer

from .keywords import given, keywords, option, take
from .shared import (
    WIDTH,
    Command,
    Json,
    answer,
    bad_usage,
    check_plot,
    console,
    print_json,
    table,
    working,
)

if TYPE_CHECKING:
    from ..bisect.block_floats import Carried
    from ..bisect.measure import Bisection, CallRow, Parting

_SETTINGS = ("device", "device_id", "arch", "precision", "numerics", "float32", "attention", "min_upload_numel")
_WEIGHTS = 20  # rows of a table of weights
_LINE = 34  # characters of the name of a file, with the line
_CODE = 44  # characters of a line of Python


def bisect(
    target: str,
    arguments: list[str] | None,
    against: str,
    budget: float,
    block_float: str | None,
    rows: int,
    plot: Path | None,
    json: bool,
    **settings: Any,
) -> None:
    """Say where a model loses precision: after which calls its error exceeds a budget, and what each call adds itself.

    The program runs on the device, and each call is compared with a reference on the host: plain PyTorch, or PyTorch in
    float64. An error is the norm of the difference, divided by the norm of the reference's results. A call's own error
    is that of the op on the reference's inputs; the norm of the rest is inherited. TARGET is a factory, a script or a
    torch.export file, as docs/coverage.md describes them; what it prints goes to stderr, and if it fails, its traceback
    and exit code are its own.
    """
    from ..bisect.measure import REFERENCES
    from ..bisect.measure import bisect as measure
    from ..runtime.block_floats import BLOCK_FLOATS
    from ..settings import Settings
    from .targets import Outcome, load

    if against not in REFERENCES:
        bad_usage(f"{against!r}; expected {' or '.join(REFERENCES)}", "--against")
    if not 0 <= budget < math.inf:
        bad_usage(f"{budget}; expected a relative error, such as 0.01", "--budget")
    if block_float is not None and block_float not in BLOCK_FLOATS:
        bad_usage(f"{block_float!r}; expected {' or '.join(BLOCK_FLOATS)}", "--try")
    if plot is not None:
        check_plot(plot)
    if target.endswith(".jsonl"):
        bad_usage(f"{target}: a file of calls has no values to compare", "target")
    chosen = Settings.resolve(given(settings))
    ended: list[Outcome] = []

    def runs(block: AbstractContextManager[Any]) -> tuple[Any, str]:
        ended.append(loaded.run(block))
        return ended[-1].returned, ended[-1].failed

    with redirect_stdout(sys.stderr):
        loaded = load(target, arguments or [])
        model = loaded.target.model if loaded.target is not None else None
        if loaded.target is not None and loaded.target.on_meta:
            bad_usage(f"{target} leaves tensors on the meta device, which have no values to compare", "target")
        if block_float is not None and model is None:
            bad_usage(f"{target} is no factory that returns a model and its inputs, whose weights have names", "--try")
        with working(f"{target}: running beside {against}"):
            made = measure(target, runs, chosen, against, budget, model, block_float)
    if plot is not None:
        _draw(made, plot)
    if json:
        print_json(made)
    else:
        _show(made, rows)
    if ended[0].ending:
        raise SystemExit(ended[0].ending)
    answer(made.within)


def _draw(made: Bisection, path: Path) -> None:
    from ..bisect.plot import draw

    try:
        draw(made, str(path))
    except OSError as error:
        bad_usage(f"cannot draw into {path}: {error}", "--plot")


def _show(made: Bisection, rows: int) -> None:
    settings = "".join(f", {name} {value}" for name, value in made.settings.items() if name not in ("device", "arch"))
    typer.echo(f"{made.target}: {made.device} {made.arch}{settings}, beside {made.against}")
    if made.failed:
        typer.secho(f"the program failed, what follows is not compared: {made.failed}", fg="red")
    passing, worst = made.passing, made.worst
    ends = f"; what it returns is {_figure(made.error, made.non_finite)} off" if made.error is not None else ""
    typer.echo(f"{len(made.calls)} call{'s' * (len(made.calls) != 1)} compared{ends}")
    if passing:
        first = passing[0]
        said = f"the error passes {made.budget:g} after call {first.number}, {first.op}{_at(first)}"
        typer.secho(_in_lines(said), fg="red")
    else:
        most = max((row for row in made.calls if row.error), key=lambda row: row.error or 0.0, default=None)
        where = f"; it is largest after call {most.number}: {most.error:.1e}" if most is not None else ""
        typer.echo(f"the error stays within {made.budget:g}{where}")
    _show_calls("after these calls the error is above the budget, while that of their inputs is not", passing, rows)
    _show_calls("these calls add most themselves", worst, rows)
    _show_partings(made.partings, rows)
    if made.carried is not None:
        _show_weights(made.carried, made)


def _show_calls(title: str, found: Sequence[CallRow], rows: int) -> None:
    from rich.markup import escape

    if not found[:rows]:
        return
    shown = table("call", "op", "where", "own", "inherited", "error")
    for column in (0, 3, 4, 5):
        shown.columns[column].justify = "right"
    for row in found[:rows]:
        op = row.op if row.placement == "device" else f"{row.op} (host)"
        figures = (_figure(row.own, row.own_non_finite), _figure(row.inherited), _figure(row.error, row.non_finite))
        shown.add_row(str(row.number), op, escape(_place(row)), *figures)
    typer.echo(f"\n{title}")
    console().print(shown)
    if len(found) > rows:
        typer.echo(f"and {len(found) - rows} more, which --json has")


def _show_partings(found: Sequence[Parting], rows: int) -> None:
    if found[:rows]:
        typer.echo("\nwhere the two sides part")
    for one in found[:rows]:
        values = f": {one.device} on the device, {one.reference} in the reference" if one.device else ""
        times = f" ({one.count} times)" if one.count > 1 else ""
        typer.echo(_in_lines(f"  {one.what}{values}{_at(one)}{times}"))
    if len(found) > rows > 0:
        typer.echo(f"  and {len(found) - rows} more, which --json has")


def _show_weights(found: Carried, made: Bisection) -> None:
    from rich.markup import escape

    from ..amounts import size

    if not found.rows:
        typer.echo(f"\nno weight enters a matrix product on the device, so there is none to carry in {found.dtype}")
        return
    count = f"{len(found.weights)} of {len(found.rows)} weights can be carried in {found.dtype}"
    saves = f", which saves {size(found.saved_bytes)}" if found.weights else ""
    error = f": what the model returns is then {_figure(found.error)} off" if found.error is not None else ""
    typer.echo(f"\n{count} within {made.budget:g}{saves}{error}")
    shown = table("weight", "shape", "saves", "carried", "error with it")
    for column in (2, 4):
        shown.columns[column].justify = "right"
    for row in found.rows[:_WEIGHTS]:
        shape = escape(str(row.shape))
        shown.add_row(row.name, shape, size(row.saved_bytes), "yes" if row.carried else "no", _figure(row.error))
    console().print(shown)
    if len(found.rows) > _WEIGHTS:
        typer.echo(f"and {len(found.rows) - _WEIGHTS} more, which --json has")
    if found.weights:
        typer.echo(f"\n{found.call}")


def _figure(error: float | None, non_finite: int = 0) -> str:
    if error is None:
        return "?"
    figure = f"{error:.1e}" if error else "0"
    return f"{figure}, {non_finite} NaN or inf" if non_finite else figure


def _place(row: CallRow) -> str:
    from ..places import short

    code = row.code if len(row.code) <= _CODE else f"{row.code[: _CODE - 1]}…"
    line = short(row.where)
    line = line if len(line) <= _LINE else f"…/{line.rpartition('/')[2]}"
    first = " in ".join(text for text in (line, row.module) if text)
    return f"{first}\n{code}" if code else first


def _in_lines(text: str) -> str:
    """The sentence in lines as long as a piped table's, broken between words alone."""
    return "\n".join(wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _at(row: CallRow | Parting) -> str:
    from ..places import short

    return f", at {short(row.where)}" if row.where else ""


take(
    bisect,
    [
        option(
            "target", str, typer.Argument(help="script.py, script.py:factory, package.module:factory or program.pt2.")
        ),
        option(
            "arguments", list[str] | None, typer.Argument(help="Arguments of a script, options after --."), default=None
        ),
        option("against", str, typer.Option(help="cpu, in the program's dtypes, or float64."), default="cpu"),
        option("budget", float, typer.Option(help="The relative error that is still good."), default=0.01),
        option(
            "block_float",
            str | None,
            typer.Option("--try", help="Also say which weights bfloat8_b or bfloat4_b can carry within the budget."),
            default=None,
        ),
        option("rows", int, typer.Option(min=0, help="Rows of a table."), default=10),
        option("plot", Path | None, typer.Option(help="Draw the error along the program into a file."), default=None),
        *keywords(*_SETTINGS),
        Parameter("json", Parameter.KEYWORD_ONLY, annotation=Json, default=False),
    ],
)

COMMAND = Command(
    "bisect",
    bisect,
    example="ttreg bisect my_models.py:classifier --precision bfloat16",
    json="bisect.measure:Bisection",
    no="an error is above the budget; or another code, the program failed",
)
