"""The command line: a file per command, which imports what it needs when it runs."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from . import (
    bench,
    bisect,
    config,
    coverage,
    demo,
    docs,
    doctor,
    limits,
    list_ops,
    new_op,
    report,
    run,
    show,
    verify,
    why,
)
from .shared import Commands, log_to_stderr

COMMANDS = (
    run.COMMAND,
    report.COMMAND,
    list_ops.COMMAND,
    show.COMMAND,
    why.COMMAND,
    coverage.COMMAND,
    bisect.COMMAND,
    verify.COMMAND,
    bench.COMMAND,
    new_op.COMMAND,
    doctor.COMMAND,
    config.COMMAND,
    limits.COMMAND,
    docs.COMMAND,
    demo.COMMAND,
)

# Plain help, because importing rich and drawing its panels takes longer than everything else in `--help`.
app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run PyTorch code on Tenstorrent hardware, op by op.",
)

for command in COMMANDS:
    app.command(command.name, epilog=command.epilog, context_settings=command.context_settings)(command.run)


def _version(wanted: bool) -> None:
    if wanted:
        from ..versions import installed

        for package in ("ttreg", "torch", "ttnn"):  # by their metadata: to import them takes seconds
            typer.echo(f"{package} {installed(package) or 'not installed'}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[
        int,
        typer.Option("--verbose", "-v", count=True, show_default=False, help="Log to stderr; twice for each decision."),
    ] = 0,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the versions of ttreg, torch and ttnn, and leave.",
        ),
    ] = False,
) -> None:
    context.obj = COMMANDS  # for `ttreg docs`
    if verbose:
        log_to_stderr(logging.INFO if verbose == 1 else logging.DEBUG)
