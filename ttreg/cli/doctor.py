"""`ttreg doctor`: what ttreg needs of this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False) -> None:
    """Look at what ttreg needs on this machine; exit code 1 if something is broken."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    from ..doctor import examine, to_json

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
