"""`ttreg run`: any Python program on the device, and then the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from .keywords import given, keywords, option, take
from .shared import NO, Command, as_json, bad_usage, check_writable, errors

if TYPE_CHECKING:
    from ..blocks.mode import device_mode
    from ..runtime.session import Session

_REPORT = "Also write the report as JSON; {rank} in the name becomes the rank that torchrun gives."
_ON_HOST = "Keep ops on the host: names, families or patterns as for ttreg list. May be given several times."
_STRICT = "Exit code 1 also if the host ran floating-point calls, other than to read a number from a tensor."


def run(
    program: list[str], module: bool, report: Path | None, strict: bool, on_host: list[str], **settings: Any
) -> None:
    """Run a Python program on the device, as `python` would, and print the report on stderr when it ends.

    Its stdout, tracebacks and exit code are its own. Processes that it starts are not on the device.
    """
    if report is not None:
        report = Path(str(report).replace("{rank}", os.environ.get("RANK", "0")))
        check_writable(report, "--report")

    from ..blocks.mode import device_mode
    from .program import Program

    block = device_mode(**given(settings))
    try:
        chosen = Program(program[0], program[1:], is_module=module)
    except ValueError as error:
        bad_usage(str(error), "program")
    session, ending = chosen.run(_with_ops_on_host(block, on_host))
    made = session.report()
    errors().print(made)
    if report is not None:
        report.write_text(as_json(made) + "\n", encoding="utf-8")
    if strict and (fallen := session.ledger.floating_fallbacks()):
        typer.echo(f"--strict: the host ran floating-point calls of {', '.join(fallen)}", err=True)
        ending = ending or NO
    raise SystemExit(ending)


@contextmanager
def _with_ops_on_host(block: device_mode, patterns: list[str]) -> Iterator[Session]:
    with block as session:
        for pattern in patterns:
            try:
                session.on_host(pattern)
            except ValueError as error:
                bad_usage(str(error), "--on-host")
        yield session


take(
    run,
    [
        option("program", list[str], typer.Argument(help="The script, or with -m the module, and its arguments.")),
        option("module", bool, typer.Option("-m", help="Run a module, as python -m does."), default=False),
        option("report", Path | None, typer.Option(help=_REPORT), default=None),
        option("on_host", list[str], typer.Option(help=_ON_HOST), default=[]),
        option("strict", bool, typer.Option("--strict", help=_STRICT), default=False),
        *keywords(),
    ],
)

COMMAND = Command(
    "run",
    run,
    example="ttreg run --report report.json script.py --its-own-option",
    no="or another code, the program failed",
    json="report:Report",
    json_form="in the file that --report names, an object",
    takes_a_program=True,
)
