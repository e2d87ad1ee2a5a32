"""`ttreg verify`: what real ttnn says of every accepted sample, and what a chip computes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .keywords import SAYS
from .shared import Command, Json, Ops, answer, bad_usage, check_ops, console, table, tracked
from .values import verify_values

if TYPE_CHECKING:
    from ..verification.verify import Verdict


def verify(
    ops: Ops = None,
    arch: Annotated[str, typer.Option(help="wormhole_b0, blackhole or both.")] = "both",
    precision: Annotated[str | None, typer.Option(help=SAYS["precision"], show_default=False)] = None,
    float32: Annotated[str | None, typer.Option(help=SAYS["float32"], show_default=False)] = None,
    values: Annotated[
        bool, typer.Option("--values", help="Compare the values of a real or simulated chip instead.")
    ] = False,
    simulator: Annotated[
        Path | None, typer.Option(help="With --values: the simulator to use, as TT_METAL_SIMULATOR names it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --values: a file to append to; what it has is not run again.")
    ] = None,
    special: Annotated[
        bool, typer.Option("--special", help="With --values: sweep special values and [-10, 10] too.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="With --values: seconds that a sample may take.")] = 300,
    workers: Annotated[int, typer.Option(min=1, help="With --values: processes; a card is for one.")] = 1,
    json: Json = False,
) -> None:
    """Make every accepted sample's ttnn calls on mocked chips.

    With --values, run them on a card, or a simulator, and compare the results with the CPU's: PCC, the largest absolute
    and relative differences, units in the last place, places where only one is finite. The exit
    code is then 1 if an entry is worse than its figures in `ttreg show` (or, without figures, outside the dtype's
    tolerance), or if a sample gave no values. `ttreg limits --from` updates the package's figures from the file.
    """
    from ..settings import ARCHS, Settings
    from ..verification.verify import verify as run

    asked = {"precision": precision, "float32": float32}
    settings = {name: value for name, value in asked.items() if value is not None}
    if values:
        if arch != "both":
            bad_usage("a chip has the arch that it has; leave it out with --values", "--arch")
        verify_values(ops or (), settings, simulator, out, special, timeout, workers, json)
    for option, given in (("--simulator", simulator), ("--out", out), ("--special", special)):
        if given:
            bad_usage("it is for --values", option)
    archs = ARCHS if arch == "both" else (arch,)
    if not set(archs) <= set(ARCHS):
        bad_usage(f"{arch!r}; expected {', '.join(ARCHS)} or both", "--arch")
    check_ops(ops or ())
    Settings.resolve(settings)
    verdicts = [v for a in archs for v in tracked(run(a, ops or (), precision=precision, float32=float32), a)]
    answer(_said(verdicts, archs, json))


def _said(verdicts: list[Verdict], archs: Sequence[str], json: bool) -> bool:
    """Print ttnn's verdicts on the samples; returns whether all passed."""
    from rich.markup import escape

    refused = [v for v in verdicts if v.error]
    if json:
        for verdict in verdicts:
            typer.echo(verdict.model_dump_json())
    else:
        shown = table("op", "sample", "arch", "what ttnn said")
        for v in refused:
            shown.add_row(v.op, str(v.sample), v.arch, escape(v.error))
        if refused:
            console().print(shown)
        accepted = sum(v.accepted for v in verdicts)
        typer.echo(f"{accepted - len(refused)} of {accepted} accepted samples passed, on {', '.join(archs)}")
    return not refused


COMMAND = Command(
    "verify",
    verify,
    example="ttreg verify conv softmax --arch blackhole",
    no="ttnn refuses a sample's call, or a value is worse than stated",
    json="verification.verify:Verdict",
    json_form="a line for each sample",
)
