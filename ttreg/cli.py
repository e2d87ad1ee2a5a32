"""The command line: `ttreg demo`, `ttreg verify`, `ttreg doctor`, `ttreg limits`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Run PyTorch code on Tenstorrent hardware, op by op.")


@app.callback()
def _main() -> None:
    """Keeps `ttreg COMMAND` the form even while there is one command."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the annotated picture.")] = Path("demo-output"),
) -> None:
    """Detect faces and rank sentences on the device, beside a plain CPU run; exit code 1 if they disagree."""
    from rich.console import Console

    from . import demo as demo_package

    raise typer.Exit(demo_package.run(output, Console()))


@app.command()
def verify(
    ops: Annotated[list[str] | None, typer.Argument(help="Parts of op names, or families; all if none.")] = None,
    arch: Annotated[str, typer.Option(help="wormhole_b0, blackhole or both.")] = "both",
    json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON lines.")] = False,
) -> None:
    """Make every accepted sample's ttnn calls on mocked chips; exit code 1 if ttnn refuses any."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from .settings import ARCHS
    from .verify import matching
    from .verify import verify as run

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


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """Look at what ttreg needs on this machine; exit code 1 if something is broken."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from .doctor import examine, to_json

    lines = list(track(examine(), "looking", total=11, console=Console(stderr=True), transient=True))
    if json:
        typer.echo(to_json(lines))
    else:
        table = Table("", "", "found", "what to do", box=None)
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for line in lines:
            table.add_row(f"[{colours[line.status]}]{line.status}[/]", line.name, line.found, line.advice)
        Console().print(table)
    raise typer.Exit(1 if any(line.status == "fail" for line in lines) else 0)


@app.command()
def limits(
    write: Annotated[bool, typer.Option("--write", help="Bring docs/ttnn-limits.md up to date instead.")] = False,
) -> None:
    """Print which ops have which limit, and why, as Markdown; exit code 1 if `--write` has no file to write."""
    from . import limits as made
    from .errors import TtregError

    if not write:
        typer.echo(made.generated())
        return
    try:
        path, changed = made.write()
    except TtregError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{path}: {'written' if changed else 'up to date'}")
