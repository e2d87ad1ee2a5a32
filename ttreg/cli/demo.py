"""`ttreg demo`: two programs on the device, beside plain CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .shared import Command, Json, console, errors, print_json


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the annotated picture.")] = Path("demo-output"),
    json: Json = False,
) -> None:
    """Detect faces and rank sentences on the device, beside a plain CPU run."""
    from ..demo import Part, run

    parts: list[Part] = []
    code = run(output, errors() if json else console(), parts)
    if json:
        print_json(parts)
    raise typer.Exit(code)


COMMAND = Command(
    "demo",
    demo,
    example="ttreg demo --output pictures",
    no="they disagree",
    json="demo.part:Part",
    json_form="an array",
)
