"""`ttreg report`: a saved report, those of ranks counted together, or what changed from one to another."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shared import Command, Json, answer, bad_usage, console, print_columns, print_json, working

if TYPE_CHECKING:
    from ..report import Report
    from ..reporting.difference import Difference


class By(str, Enum):
    """What the calls of a traced program can be shown by."""

    module = "module"
    line = "line"


def report(
    files: Annotated[
        list[Path],
        typer.Argument(help="A report, as ttreg run --report writes it; two to compare; or one of each rank."),
    ],
    by: Annotated[
        By | None, typer.Option(help="Show what each module, or each line, did; only of a program that was traced.")
    ] = None,
    depth: Annotated[int, typer.Option(min=0, help="With --by module: so many levels of modules.")] = 3,
    html: Annotated[Path | None, typer.Option(help="Write a page instead, which needs no network.")] = None,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit code 1 if something is worse in the later one.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a saved report, those of a program's ranks counted together, or what changed between two.

    Regressions come first. Reports are of ranks if each tells another rank of as many processes.

    A regression is an op with more calls on the host, a smaller share on the device, more transfers, or more for the
    device to do: ttnn calls, new programs, bytes moved. Times are not compared.
    """
    from ..report import Shown, read_report
    from ..reporting.difference import difference
    from ..reporting.modules import NO_LINES
    from ..reporting.ranks import are_ranks, merged

    if fail_on_regression and len(files) == 1:
        bad_usage("it needs a second report to compare with", "--fail-on-regression")
    reports = [read_report(file) for file in files]
    of_ranks = are_ranks(reports)
    if len(reports) > 2 and not of_ranks:
        bad_usage("more than two reports have to be of the ranks of one program, each of another rank", "files")
    first, shown = reports[0], merged(reports) if of_ranks else reports[-1]
    two = len(reports) == 2 and not of_ranks
    changed = difference(first, shown) if two else None
    if fail_on_regression and changed is None:
        bad_usage("reports of ranks are counted together; compare two reports", "--fail-on-regression")
    if html is not None:
        _write_page(html, shown, files[-1], (first, files[0].name) if two else None)
    if by is not None and not shown.lines:
        bad_usage(NO_LINES, "--by")
    if json:
        print_json(Shown(report=shown, before=first if two else None, difference=changed))
    elif html is not None:
        typer.echo(f"{html}: written")
    elif by is not None:
        _show_by(by, shown, depth)
    elif changed is None:
        console().print(shown)
    else:
        for file, each in zip(files, reports, strict=True):
            typer.echo(f"{file.name}: {_in_a_line(each)}")
        show_difference(changed)
    answer(not (fail_on_regression and changed is not None and changed.is_worse))


def _write_page(path: Path, report: Report, source: Path, before: tuple[Report, str] | None) -> None:
    from ..reporting.page import page

    with working("drawing"):  # a trace of a million events takes some seconds
        text = page(report, source.name, before, source.parent)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        bad_usage(f"{path} cannot be written: {error.strerror}; name a file in a folder that exists", "--html")


def _in_a_line(report: Report) -> str:
    device, totals = report.device, report.totals
    share = "" if totals.share is None else f", {totals.share:.1%} of the floating-point ones on the device"
    exact = "" if device.float32 == "fast" else f", float32 {device.float32}"
    return f"{totals.calls} calls{share}; {device.name} {device.arch}, ttnn {device.ttnn_version}{exact}"


def _show_by(by: By, report: Report, depth: int) -> None:
    from ..reporting.modules import columns_by_line, table_by_module

    if by is By.module:
        console().print(table_by_module(report, depth))
        return
    columns, left_out = columns_by_line(report)
    print_columns(columns)
    if left_out:
        typer.echo(f"and {left_out} shorter rows, which --json has")


def show_difference(difference: Difference) -> None:
    """Print what changed, regressions first."""
    from ..reporting.difference import HEADINGS

    for kind, changes in difference.groups():
        typer.echo()
        rows = [(each.subject, each.before or "-", each.after or "-", each.reason) for each in changes]
        print_columns([(HEADINGS[kind], "before", "now", "why"), *rows])
    what = "op runs where it" if difference.unchanged == 1 else "ops run where they"
    typer.echo(f"\n{difference.unchanged} {what} ran before")


COMMAND = Command(
    "report",
    report,
    example="ttreg report yesterday.json today.json --html changes.html",
    no="with --fail-on-regression, something is worse",
    json="report:Shown",
)
