"""`ttreg docs`: the pages that are generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer
from typer.core import TyperGroup

from .shared import Command, Json, answer, print_json


def docs(
    context: typer.Context,
    output: Annotated[Path | None, typer.Option(help="Folder to write to; the docs of the checkout if none.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say whether the pages are up to date.")
    ] = False,
    json: Json = False,
) -> None:
    """Write ops.md (every entry with its conditions), accuracy.md (what was measured of them) and commands.md."""
    from ..explain import docs as made
    from ..explain.accuracy import accuracy_page
    from .reference import commands_page

    folder = output or made.folder()
    texts = {
        "ops.md": made.ops_page(),
        "accuracy.md": accuracy_page(),
        "commands.md": commands_page(cast(TyperGroup, context.find_root().command), context.obj),
    }
    pages = [made.bring_up_to_date(folder / name, text, write=not check) for name, text in texts.items()]
    if json:
        print_json(pages)
    else:
        for page in pages:
            typer.echo(f"{page.path}: {'written' if page.written else 'up to date' if page.current else 'stale'}")
    answer(not check or all(page.current for page in pages))


COMMAND = Command(
    "docs",
    docs,
    example="ttreg docs --check",
    json="explain.docs:Page",
    json_form="an array",
    no="with --check, a page is stale",
)
