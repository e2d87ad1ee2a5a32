"""`python -m ttreg`: the same as the command `ttreg`."""

from __future__ import annotations

from .cli import app

app(prog_name="ttreg")
