"""`ttreg demo`: two programs on the device, beside plain CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the annotated picture.")] = Path("demo-output"),
) -> None:
    """Detect faces and rank sentences on the device, beside a plain CPU run; exit code 1 if they disagree."""
    from rich.console import Console

    from .. import demo as demo_package

    raise typer.Exit(demo_package.run(output, Console()))
