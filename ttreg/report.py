"""What ran where and why: the `Report` of a session, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from .conditions import Never, Refusal
from .runtime.plan import Placement
from .schema import is_bookkeeping, overload

_SHOWN = 20  # rows of a printed table


class DeviceInfo(BaseModel):
    """The device that the session used."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool


class PlacedAlike(BaseModel):
    """Calls of one op that are placed alike for one reason."""

    op: str
    placement: Placement
    condition: str = ""
    reason: str = ""
    got: str = ""
    count: int = 0

    @property
    def is_bookkeeping(self) -> bool:
        """Whether calls of the op compute nothing, so that tables leave the row out."""
        op = overload(self.op)
        return op is not None and is_bookkeeping(op)

    @property
    def because(self) -> str:
        """The condition's own reason: where it has none, `reason` is what the refusal says, with what it met."""
        return "" if self.reason == str(Refusal(self.condition, self.got)) else self.reason


class OpRow(PlacedAlike):
    """Calls of one op that were placed alike for one reason."""

    seconds: float = 0.0
    bytes: int = 0  # of the inputs
    # Downloaded for calls on the host; of what these made, uploaded again. Not in the JSON form where nothing was.
    bytes_down: int = Field(default=0, exclude_if=lambda count: not count)
    bytes_up: int = Field(default=0, exclude_if=lambda count: not count)


class Transfers(BaseModel):
    """Tensors that crossed between host and device, and conversions on it.

    Weights are parameters; `uploads` counts the others.
    """

    uploads: int = 0
    upload_bytes: int = 0
    weight_uploads: int = 0
    weight_upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0
    upload_seconds: float = 0.0  # of weights too
    download_seconds: float = 0.0
    dtype_conversions: int = 0
    layout_conversions: int = 0


class Totals(BaseModel):
    """Calls by placement.

    `host_float` are those of host that read a floating-point tensor: what a better registry could still win. A call
    that only fills one (`zero_`, `uniform_`) reads none, and one that writes to the host's own memory belongs there.
    `host_no_dtype` are those of host_float in a dtype that ttnn does not have (float64, float16).
    """

    calls: int = 0
    device: int = 0
    host: int = 0
    host_float: int = 0
    host_no_dtype: int = Field(default=0, exclude_if=lambda count: not count)
    local: int = 0
    decomposed: int = 0
    view: int = 0

    @property
    def share(self) -> float | None:
        """The device's share of the floating-point calls; None if there are none."""
        floating = self.device + self.host_float
        return self.device / floating if floating else None

    @property
    def share_of_ttnns_dtypes(self) -> float | None:
        """The same without the calls in dtypes that ttnn does not have."""
        floating = self.device + self.host_float - self.host_no_dtype
        return self.device / floating if floating else None

    def __str__(self) -> str:
        share = "" if self.share is None else f" ({self.share:.1%} of the floating-point calls)"
        counts = (
            f"{self.calls} calls: {self.device} on the device{share}, {self.host} on the host, {self.local} local, "
            f"{self.decomposed} decomposed, {self.view} views"
        )
        if not self.host_no_dtype:
            return counts
        without = "none" if self.share_of_ttnns_dtypes is None else f"{self.share_of_ttnns_dtypes:.1%} on the device"
        return f"{counts}\nwithout {self.host_no_dtype} in float64 or float16, which ttnn does not have: {without}"


class TracePart(BaseModel):
    """Where a trace of the session is: a file, and the session's number among the trace's processes."""

    file: str
    process: int
    dispatch_seconds: float = 0.0  # spent on finding out where calls go, besides running them and writing the trace


class Report(BaseModel):
    """What ran on the device, what fell back to the host, and why. Printing it renders tables."""

    device: DeviceInfo
    ops: list[OpRow]
    transfers: Transfers
    totals: Totals
    trace: TracePart | None = Field(
        default=None, exclude_if=lambda part: part is None
    )  # only where `trace` was asked for

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(self._summary(), *self._tables())

    def __str__(self) -> str:
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _repr_html_(self) -> str:
        from .reporting.page import compact

        return compact(self)

    def _summary(self) -> Text:
        moved = self.transfers
        validated = ", validated" if self.device.validated else ""
        traced = ""
        if self.trace is not None:
            took = f"; deciding where calls go took {self.trace.dispatch_seconds * 1e3:.1f} ms"
            traced = f"\ntrace in {self.trace.file}, process {self.trace.process}{took}"
        return Text(
            f"{self.device.name} {self.device.arch}, ttnn {self.device.ttnn_version}{validated}\n"
            f"{self.totals}\n"
            f"uploads {moved.uploads} ({size(moved.upload_bytes)}), weights {moved.weight_uploads} "
            f"({size(moved.weight_upload_bytes)}), downloads {moved.downloads} ({size(moved.download_bytes)})\n"
            f"moving took {moved.upload_seconds * 1e3:.1f} ms up, {moved.download_seconds * 1e3:.1f} ms down\n"
            f"conversions on the device: {moved.dtype_conversions} of dtype, {moved.layout_conversions} of layout"
            f"{traced}"
        )

    def _tables(self) -> Iterator[Table | Text]:
        for title, placement in (("on the device", "device"), ("on the host, and why", "host")):
            rows = [row for row in self.ops if row.placement == placement and not row.is_bookkeeping]
            if not rows:
                continue
            table = Table(Column("op", overflow="fold"), title=f"\n{title}", title_justify="left")
            table.add_column("calls", justify="right")
            table.add_column("ms", justify="right")
            table.add_column("inputs" if placement == "device" else "why", overflow="fold")
            for row in rows[:_SHOWN]:
                last = size(row.bytes) if placement == "device" else why(row) + there_and_back(row)
                table.add_row(row.op, str(row.count), f"{row.seconds * 1e3:.1f}", escape(last))
            yield table
            if len(rows) > _SHOWN:
                yield Text(f"and {len(rows) - _SHOWN} shorter rows, which model_dump_json() has", style="dim")


def why(row: OpRow) -> str:
    """Why the row's calls were placed as they were, in one line."""
    if row.condition == str(Never()):
        return row.reason
    return str(Refusal(row.condition, row.got, row.because))


def there_and_back(row: OpRow) -> str:
    """What a call on the host moved, in the middle of work on the device."""
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
