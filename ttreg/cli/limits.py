"""`ttreg limits`: which ops have which limit, as Markdown; and the package's figures of what chips compute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import TtregError
from .shared import Command, Json, bad_usage, print_json, tracked


def limits(
    write: Annotated[bool, typer.Option("--write", help="Bring docs/ttnn-limits.md up to date instead.")] = False,
    values: Annotated[
        Path | None,
        typer.Option("--from", help="Update the package's figures with this file, of ttreg verify --values --out."),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Mark the figures that the lowerings have outgrown; takes a minute.")
    ] = False,
    json: Json = False,
) -> None:
    """Print which ops have which limit, and why, as Markdown.

    With --from, make figures of what a chip computed: `ttreg show` and docs/accuracy.md (`ttreg docs`) say them.
    """
    from ..explain import limits as made

    if values is not None or refresh:
        _update(values)
    elif write:
        path, changed = made.write()
        typer.echo(f"{path}: {'written' if changed else 'up to date'}")
    elif json:
        print_json(made.limits())
    else:
        typer.echo(made.generated())


def _update(values: Path | None) -> None:
    """Update the package's figures from the file, if there is one, and mark those of changed lowerings."""
    from ..measured import FILE, Measured, write
    from ..measured import read as figures_of
    from ..verification.figures import marked, merged
    from ..verification.values_file import read

    measured = figures_of()
    if values is not None:
        try:
            measured = merged(measured, *read(values))
        except TtregError as error:
            bad_usage(str(error), "--from")
    figures = list(tracked(marked(measured), "which ttnn calls are made now", len(measured.figures)))
    try:
        write(Measured(runs=measured.runs, figures={(f.op, f.dtype): f for f in figures}))
    except OSError as error:
        raise TtregError(f"{FILE} cannot be written: {error.strerror}") from error
    parts = [part for f in figures for part in (*f.samples, *([f.sweep] if f.sweep is not None else ()))]
    changed = sum(part.changed for part in parts)
    typer.echo(
        f"{FILE}: {len(parts)} figures of {len({f.op for f in figures})} ops; of {changed} the lowering has changed"
    )


COMMAND = Command(
    "limits",
    limits,
    example="ttreg limits --json",
    json="explain.limits:Limit",
    json_form="an array",
)
