"""The command line: a file per command, which imports what it needs when it runs."""

from __future__ import annotations

import typer

from . import demo, doctor, limits, verify

app = typer.Typer(no_args_is_help=True, add_completion=True, help="Run PyTorch code on Tenstorrent hardware, op by op.")

for command in (demo.demo, verify.verify, doctor.doctor, limits.limits):
    app.command()(command)
