"""The models of a report: what ran where and why, as `model_dump_json()` writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from ..conditions import Refusal
from ..placement import Placement
from ..schema import is_bookkeeping, overload
from .work import Cost, DeviceWork, ProgramCounts


class DeviceInfo(BaseModel):
    """The device that the session used."""

    name: str
    arch: str
    ttnn_version: str
    validated: bool
    float32: str = Field(default="fast", exclude_if=lambda how: how == "fast")  # the setting


class PlacedAlike(BaseModel):
    """Calls of one op with the same placement and reason."""

    op: str
    placement: Placement
    condition: str = ""
    reason: str = ""
    got: str = ""
    count: int = 0

    @property
    def is_bookkeeping(self) -> bool:
        """Whether the op computes nothing, so that tables leave the row out."""
        op = overload(self.op)
        return op is not None and is_bookkeeping(op)

    @property
    def because(self) -> str:
        """The condition's own reason: where it has none, `reason` is what the refusal says, with what it met."""
        return "" if self.reason == str(Refusal(self.condition, self.got)) else self.reason


class OpRow(PlacedAlike):
    """Calls of one op that had the same placement and reason."""

    seconds: float = 0.0
    bytes: int = 0  # of the inputs
    # Downloads for calls on the host, and uploads of their results. Left out of the JSON form if they are 0.
    bytes_down: int = Field(default=0, exclude_if=lambda count: not count)
    bytes_up: int = Field(default=0, exclude_if=lambda count: not count)
    # NaN in bfloat16 results that `check` found as infinities on the device. Left out of the JSON form if there are
    # none.
    nans_lost: int = Field(default=0, exclude_if=lambda count: not count)
    # What the device had to do. Left out of the JSON form if it had nothing to do.
    work: DeviceWork | None = Field(default=None, exclude_if=lambda work: work is None)


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


class Buckets(BaseModel):
    """Calls on tensors that are held with spare room (the setting `buckets`), and the bytes that it adds in tiles."""

    calls: int = 0
    padding_bytes: int = 0


class Checked(BaseModel):
    """Results of the device that `check` found to be the host's, and the lowest PCC among them.

    A result may also pass because it is as close to the exact one as the host's; its PCC then says nothing.
    """

    results: int = 0
    lowest_pcc: float = 1.0
    op: str = ""


class Totals(BaseModel):
    """Calls by placement.

    `host_float` are those of host that read a floating-point tensor: what a better registry could still win. A call
    that only fills one (`zero_`, `uniform_`) reads none, nor does one on tensors without elements, and one that writes
    to the host's own memory belongs there.
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
        """The share among calls whose dtypes ttnn has."""
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
    dispatch_seconds: float = (
        0.0  # time spent on deciding where calls go, apart from running them and writing the trace
    )


class LineRow(BaseModel):
    """Calls of one op that a line of the program made in one module, with the same placement and reason.

    A row without an op of PyTorch's is an upload, a download or a view that was made outside of all ops.
    """

    line: str = ""  # file and line: the innermost outside PyTorch and ttreg; of a gradient, its forward call's
    model: str = ""  # the class of the outermost module that was running
    module: str = ""  # the path from it, such as "encoder.layer.3.attention"; empty for the outermost itself
    backward: bool = Field(default=False, exclude_if=lambda made: not made)  # calls that autograd made
    op: str
    placement: Placement | Literal["transfer"]
    reason: str = Field(default="", exclude_if=lambda text: not text)
    count: int = 0
    seconds: float = 0.0
    bytes: int = 0  # of the inputs
    shapes: list[str] = []  # the tensors, "float32[3, 4] -> float32[3]", the most frequent first
    device_calls: dict[str, int] = {}  # ttnn calls by name
    work: DeviceWork | None = Field(default=None, exclude_if=lambda work: work is None)
    # The device's memory that the session held before and after the call that came to the most.
    memory_before: int = 0
    memory_after: int = 0


class Rank(BaseModel):
    """Which process of a distributed program a report is of, and how many there are."""

    rank: int
    of: int


class RankRow(BaseModel):
    """What one rank contributes to a report of all."""

    rank: int
    calls: int
    device: int
    host_float: int
    upload_bytes: int  # of weights too
    download_bytes: int

    @classmethod
    def of_report(cls, report: Report) -> RankRow:
        """The row of one rank's report."""
        totals, moved = report.totals, report.transfers
        return cls(
            rank=report.rank.rank if report.rank is not None else 0,
            calls=totals.calls,
            device=totals.device,
            host_float=totals.host_float,
            upload_bytes=moved.upload_bytes + moved.weight_upload_bytes,
            download_bytes=moved.download_bytes,
        )


class RecordedRow(BaseModel):
    """A function that was recorded, and where it is: how many recordings with paths and segments, replays, comparisons,
    and steps replayed.

    `eager` are the calls that ran as the function itself does, `misses` the recordings that did not hold, `refused` the
    signatures that are not recorded, and `dropped` the recordings that went to make room, each by the reason. `traced`
    are the replays by a trace of the device, and `untraced` says why there were none where they were asked for.
    """

    name: str
    line: str = ""
    recordings: int = 0
    paths: int = 0
    segments: int = 0
    replays: int = 0
    checks: int = 0
    steps: int = 0
    eager: dict[str, int] = {}
    misses: dict[str, int] = {}
    refused: dict[str, int] = {}
    dropped: dict[str, int] = {}
    traced: int = 0
    untraced: dict[str, int] = {}

    def against(self) -> list[tuple[str, str, int]]:
        """What became of calls that were not replayed: what, the reason, and how often."""
        kinds = {
            "not recorded": self.refused,
            "did not hold": self.misses,
            "let go": self.dropped,
            "ran as it is": self.eager,
            "not traced": self.untraced,
        }
        return [(what, reason, count) for what, reasons in kinds.items() for reason, count in reasons.items()]


class Report(BaseModel):
    """What ran on the device, what fell back to the host, and why."""

    device: DeviceInfo
    ops: list[OpRow]
    transfers: Transfers
    totals: Totals
    buckets: Buckets = Field(default=Buckets(), exclude_if=lambda buckets: not buckets.calls)
    checked: Checked = Field(default=Checked(), exclude_if=lambda checked: not checked.results)
    # ttnn calls by name, transfers included; new programs of the device; and what the calls cost at least. None in a
    # report of an older version.
    device_calls: dict[str, int] | None = None
    programs: ProgramCounts | None = None
    cost: Cost | None = None
    # What the session did otherwise than the registry says, by `override` and `on_host`.
    overrides: list[str] = Field(default=[], exclude_if=lambda said: not said)
    recorded: list[RecordedRow] = Field(default=[], exclude_if=lambda rows: not rows)  # functions, if there are any
    lines: list[LineRow] = Field(default=[], exclude_if=lambda rows: not rows)  # only where `trace` was asked for
    # The process, if it is one of several; and in a report of all of them, what each contributes.
    rank: Rank | None = Field(default=None, exclude_if=lambda rank: rank is None)
    ranks: list[RankRow] = Field(default=[], exclude_if=lambda rows: not rows)
    trace: TracePart | None = Field(
        default=None, exclude_if=lambda part: part is None
    )  # only where `trace` was asked for
