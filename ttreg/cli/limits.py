"""`ttreg limits`: which ops have which limit, as Markdown."""

from __future__ import annotations

from typing import Annotated

import typer

from .shared import Command, Json, print_json


def limits(
    write: Annotated[bool, typer.Option("--write", help="Bring docs/ttnn-limits.md up to date instead.")] = False,
    json: Json = False,
) -> None:
    """Print which ops have which limit, and why, as Markdown."""
    from ..explain import limits as made

    if write:
        path, changed = made.write()
        typer.echo(f"{path}: {'written' if changed else 'up to date'}")
    elif json:
        print_json(made.limits())
    else:
        typer.echo(made.generated())


COMMAND = Command(
    "limits",
    limits,
    example="ttreg limits --json",
    json="explain.limits:Limit",
    json_form="an array",
)
