"""`Report`, which a session's `report()` returns, and reading one back from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.console import Console, ConsoleOptions, Group, RenderResult

from .errors import TtregError
from .reporting import models
from .reporting.difference import Difference
from .reporting.models import Buckets, Checked, DeviceInfo, LineRow, OpRow, PlacedAlike, Totals, TracePart, Transfers
from .reporting.tables import summary, tables, there_and_back, why
from .reporting.work import Cost, DeviceMemory, DeviceWork, ProgramCounts, ProgramRow

__all__ = [
    "Buckets",
    "Checked",
    "Cost",
    "DeviceInfo",
    "DeviceMemory",
    "DeviceWork",
    "LineRow",
    "OpRow",
    "PlacedAlike",
    "ProgramCounts",
    "ProgramRow",
    "Report",
    "ReportError",
    "Shown",
    "Totals",
    "TracePart",
    "Transfers",
    "read_report",
    "there_and_back",
    "why",
]

_HOW = "expected what `ttreg run --report` or `session.report().model_dump_json()` writes"


class Report(models.Report):
    """What ran on the device, what fell back to the host, and why. Printing it renders tables."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(summary(self), *tables(self))

    def __str__(self) -> str:
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _repr_html_(self) -> str:
        from .reporting.page import compact  # slow to import

        return compact(self)


class Shown(BaseModel):
    """What `ttreg report --json` prints: one report; or, for two, the newer one, the older one and the difference."""

    report: Report
    before: Report | None = None
    difference: Difference | None = None


class ReportError(TtregError):
    """A file is not a report that this version of ttreg reads."""


def read_report(path: Path) -> Report:
    """The report in a file.

    Raises ReportError if the file cannot be read, or is not JSON, not a report, or from another version of ttreg.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # includes a wrong encoding
        raise ReportError(f"{path} is no JSON ({error}); {_HOW}") from None
    if isinstance(data, list) and data and isinstance(data[0], dict) and "ph" in data[0]:
        raise ReportError(f"{path} is a trace, which Perfetto opens, and no report; {_HOW}")
    if not isinstance(data, dict) or not Report.model_fields.keys() & data.keys():
        raise ReportError(f"{path} is no report, but {_kind(data)}; {_HOW}")
    try:
        return Report.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise ReportError(
            f"{path} is not a report as this version of ttreg writes it ({faults}{more}); "
            "run the program again to write it anew"
        ) from None


def _kind(data: Any) -> str:
    if isinstance(data, dict):
        names = ", ".join(map(repr, list(data)[:4]))
        return f"an object with {names or 'nothing in it'}{', …' if len(data) > 4 else ''}"
    return {list: "an array", str: "a text", type(None): "null"}.get(type(data), f"{data!r:.40}")
