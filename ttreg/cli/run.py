"""`ttreg run`: any Python program on the device, and then the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ..settings import Settings
from .shared import NO, Command, bad_usage, check_writable, errors


def run(program: list[str], module: bool, report: Path | None, strict: bool, **keywords: Any) -> None:
    """Run a Python program on the device, as `python` would, and print the report on stderr when it ends.

    Its stdout, tracebacks and exit code are its own. Processes that it starts are not on the device.
    """
    if report is not None:
        check_writable(report, "--report")

    from ..blocks.mode import device_mode
    from .program import Program

    block = device_mode(**{name: value for name, value in keywords.items() if value is not None})
    try:
        chosen = Program(program[0], program[1:], is_module=module)
    except ValueError as error:
        bad_usage(str(error), "program")
    session, ending = chosen.run(block)
    made = session.report()
    errors().print(made)
    if report is not None:
        report.write_text(made.model_dump_json(indent=1) + "\n")
    if strict and (fallen := session.ledger.floating_fallbacks()):
        typer.echo(f"--strict: the host ran floating-point calls of {', '.join(fallen)}", err=True)
        ending = ending or NO
    raise SystemExit(ending)


def _parameters() -> Iterator[Parameter]:
    """The parameters of the command, with an option for each setting."""

    def parameter(name: str, kind: Any, described: Any, **default: Any) -> Parameter:
        return Parameter(name, Parameter.KEYWORD_ONLY, annotation=Annotated[kind, described], **default)

    yield parameter("program", list[str], typer.Argument(help="The script, or with -m the module, and its arguments."))
    yield parameter("module", bool, typer.Option("-m", help="Run a module, as python -m does."), default=False)
    yield parameter("report", Path | None, typer.Option(help="Also write the report as JSON."), default=None)
    strict = "Exit code 1 also if the host ran floating-point calls, other than to read a number from a tensor."
    yield parameter("strict", bool, typer.Option("--strict", help=strict), default=False)
    for field in fields(Settings):
        kind = bool if isinstance(field.default, bool) else str
        described = typer.Option(help=f"As the keyword {field.name} of device_mode.", show_default=False)
        yield parameter(field.name, kind | None, described, default=None)


run.__signature__ = Signature(list(_parameters()))  # type: ignore[attr-defined]
run.__annotations__ = {parameter.name: parameter.annotation for parameter in _parameters()}

COMMAND = Command(
    "run",
    run,
    example="ttreg run --report report.json script.py --its-own-option",
    no="or another code, the program failed",
    json="report:Report",
    json_form="in the file that --report names, an object",
    takes_a_program=True,
)
