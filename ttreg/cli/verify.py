"""`ttreg verify`: what real ttnn says of every accepted sample."""

from __future__ import annotations

from typing import Annotated

import typer


def verify(
    ops: Annotated[list[str] | None, typer.Argument(help="Parts of op names, or families; all if none.")] = None,
    arch: Annotated[str, typer.Option(help="wormhole_b0, blackhole or both.")] = "both",
    json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON lines.")] = False,
) -> None:
    """Make every accepted sample's ttnn calls on mocked chips; exit code 1 if ttnn refuses any."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from ..settings import ARCHS
    from ..verify import matching
    from ..verify import verify as run

    archs = ARCHS if arch == "both" else (arch,)
    if not set(archs) <= set(ARCHS):
        raise typer.BadParameter(f"{arch!r}; expected {', '.join(ARCHS)} or both", param_hint="--arch")
    unknown = [pattern for pattern in ops or () if not matching([pattern])]
    if unknown:
        raise typer.BadParameter(f"no lowering or family is named {', '.join(unknown)}", param_hint="OPS")
    errors = Console(stderr=True)
    verdicts = [v for a in archs for v in track(run(a, ops or ()), a, console=errors, transient=True)]
    refused = [v for v in verdicts if v.error]
    if json:
        for verdict in verdicts:
            typer.echo(verdict.model_dump_json())
    else:
        table = Table("op", "sample", "arch", "what ttnn said")
        for v in refused:
            table.add_row(v.op, str(v.sample), v.arch, v.error)
        console = Console()
        if refused:
            console.print(table)
        accepted = sum(v.accepted for v in verdicts)
        console.print(f"{accepted - len(refused)} of {accepted} accepted samples passed, on {', '.join(archs)}")
    raise typer.Exit(1 if refused else 0)
