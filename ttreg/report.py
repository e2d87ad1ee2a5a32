"""What ran where and why: the `Report` of a session, for people and for programs."""

from __future__ import annotations

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from .conditions import Never, Refusal
from .plan import Placement


class DeviceInfo(BaseModel):
    """The device that the session used."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool


class OpRow(BaseModel):
    """Calls of one op that were placed alike for one reason."""

    op: str
    placement: Placement
    condition: str = ""
    reason: str = ""
    got: str = ""
    count: int = 0
    seconds: float = 0.0
    bytes: int = 0  # of the inputs


class Transfers(BaseModel):
    """Tensors that crossed between host and device. Weights are parameters; `uploads` counts the others."""

    uploads: int = 0
    upload_bytes: int = 0
    weight_uploads: int = 0
    weight_upload_bytes: int = 0
    downloads: int = 0
    download_bytes: int = 0


class Totals(BaseModel):
    """Calls by placement; `host_float` are those of host that had a floating-point tensor among their inputs."""

    calls: int = 0
    device: int = 0
    host: int = 0
    host_float: int = 0
    local: int = 0
    decomposed: int = 0
    view: int = 0


class Report(BaseModel):
    """What ran on the device, what fell back to the host, and why. Printing it renders tables."""

    device: DeviceInfo
    ops: list[OpRow]
    transfers: Transfers
    totals: Totals

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Group(self._summary(), *self._tables())

    def __str__(self) -> str:
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def _summary(self) -> Text:
        t, moved = self.totals, self.transfers
        validated = ", validated" if self.device.validated else ""
        floating = t.device + t.host_float
        share = f" ({t.device / floating:.1%} of the floating-point calls)" if floating else ""
        return Text(
            f"{self.device.name} {self.device.arch}, ttnn {self.device.ttnn_version}{validated}\n"
            f"{t.calls} calls: {t.device} on the device{share}, {t.host} on the host, {t.local} local, "
            f"{t.decomposed} decomposed, {t.view} views\n"
            f"uploads {moved.uploads} ({_size(moved.upload_bytes)}), weights {moved.weight_uploads} "
            f"({_size(moved.weight_upload_bytes)}), downloads {moved.downloads} ({_size(moved.download_bytes)})"
        )

    def _tables(self) -> list[Table]:
        device = [row for row in self.ops if row.placement == "device"]
        refused = [row for row in self.ops if row.placement == "host"]
        tables = []
        if device:
            table = Table("op", title="on the device", title_justify="left")
            for heading in ("calls", "ms", "moved"):
                table.add_column(heading, justify="right")
            for row in device:
                table.add_row(row.op, str(row.count), f"{row.seconds * 1e3:.1f}", _size(row.bytes))
            tables.append(table)
        if refused:
            table = Table("op", title="on the host, and why", title_justify="left")
            for heading in ("calls", "ms"):
                table.add_column(heading, justify="right")
            table.add_column("why")
            for row in refused:
                table.add_row(row.op, str(row.count), f"{row.seconds * 1e3:.1f}", why(row))
            tables.append(table)
        return tables


def why(row: OpRow) -> str:
    """Why the row's calls were placed as they were, in one line."""
    if row.condition == str(Never()):
        return row.reason
    return str(Refusal(row.condition, row.got, row.reason))


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
