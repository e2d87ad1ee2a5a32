"""`ttreg verify`: what real ttnn says of every accepted sample."""

from __future__ import annotations

from typing import Annotated

import typer

from .shared import Command, Json, Ops, answer, bad_usage, check_ops, console, table, tracked


def verify(
    ops: Ops = None,
    arch: Annotated[str, typer.Option(help="wormhole_b0, blackhole or both.")] = "both",
    precision: Annotated[str | None, typer.Option(help="As the keyword of device_mode.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Make every accepted sample's ttnn calls on mocked chips."""
    from rich.markup import escape

    from ..checking.verify import verify as run
    from ..settings import ARCHS, Settings

    archs = ARCHS if arch == "both" else (arch,)
    if not set(archs) <= set(ARCHS):
        bad_usage(f"{arch!r}; expected {', '.join(ARCHS)} or both", "--arch")
    check_ops(ops or ())
    Settings.resolve({"precision": precision} if precision is not None else {})
    verdicts = [v for a in archs for v in tracked(run(a, ops or (), precision=precision), a)]
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
    answer(not refused)


COMMAND = Command(
    "verify",
    verify,
    example="ttreg verify conv softmax --arch blackhole",
    no="ttnn refuses a sample's call",
    json="checking.verify:Verdict",
    json_form="a line for each sample",
)
