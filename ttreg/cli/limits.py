"""`ttreg limits`: which ops have which limit, as Markdown."""

from __future__ import annotations

from typing import Annotated

import typer


def limits(
    write: Annotated[bool, typer.Option("--write", help="Bring docs/ttnn-limits.md up to date instead.")] = False,
) -> None:
    """Print which ops have which limit, and why, as Markdown; exit code 1 if `--write` has no file to write."""
    from .. import limits as made
    from ..errors import TtregError

    if not write:
        typer.echo(made.generated())
        return
    try:
        path, changed = made.write()
    except TtregError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{path}: {'written' if changed else 'up to date'}")
