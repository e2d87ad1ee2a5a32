"""A report as text and tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from ..conditions import Never, Refusal
from .models import OpRow, Report

_SHOWN = 20  # rows of a printed table


def summary(report: Report) -> Text:
    """What moved and what was called, in a few lines."""
    moved = report.transfers
    validated = ", validated" if report.device.validated else ""
    exact = "" if report.device.float32 == "fast" else f", float32 {report.device.float32}"
    traced = ""
    if report.trace is not None:
        took = f"; deciding where calls go took {report.trace.dispatch_seconds * 1e3:.1f} ms"
        traced = f"\ntrace in {report.trace.file}, process {report.trace.process}{took}"
    return Text(
        f"{report.device.name} {report.device.arch}, ttnn {report.device.ttnn_version}{validated}{exact}\n"
        f"{report.totals}\n"
        f"uploads {moved.uploads} ({size(moved.upload_bytes)}), weights {moved.weight_uploads} "
        f"({size(moved.weight_upload_bytes)}), downloads {moved.downloads} ({size(moved.download_bytes)})\n"
        f"moving took {moved.upload_seconds * 1e3:.1f} ms up, {moved.download_seconds * 1e3:.1f} ms down\n"
        f"conversions on the device: {moved.dtype_conversions} of dtype, {moved.layout_conversions} of layout"
        f"{traced}"
    )


def tables(report: Report) -> Iterator[Table | Text]:
    """The ops on the device, and those on the host with the reasons."""
    for title, placement in (("on the device", "device"), ("on the host, and why", "host")):
        rows = [row for row in report.ops if row.placement == placement and not row.is_bookkeeping]
        if not rows:
            continue
        table = Table(Column("op", overflow="fold"), title=f"\n{title}", title_justify="left")
        table.add_column("calls", justify="right")
        table.add_column("ms", justify="right")
        table.add_column("inputs" if placement == "device" else "why", overflow="fold")
        lost = any(row.nans_lost for row in rows)
        if lost:
            table.add_column("NaN made infinite", justify="right")
        for row in rows[:_SHOWN]:
            last = size(row.bytes) if placement == "device" else why(row) + there_and_back(row)
            odd = [str(row.nans_lost or "")] if lost else []
            table.add_row(row.op, str(row.count), f"{row.seconds * 1e3:.1f}", escape(last), *odd)
        yield table
        if len(rows) > _SHOWN:
            yield Text(f"and {len(rows) - _SHOWN} shorter rows, which model_dump_json() has", style="dim")


def why(row: OpRow) -> str:
    """Why the row's calls were placed as they were, in one line."""
    if row.condition == str(Never()):
        return row.reason
    return str(Refusal(row.condition, row.got, row.because))


def there_and_back(row: OpRow) -> str:
    """What a call on the host moved between host and device."""
    if not row.bytes_down:
        return ""
    again = f", {size(row.bytes_up)} went up again" if row.bytes_up else ""
    return f" ({size(row.bytes_down)} came down for it{again})"


def size(count: float) -> str:
    """A number of bytes in a unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
