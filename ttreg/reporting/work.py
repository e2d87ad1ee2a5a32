"""The models of what the device had to do: calls, bytes, a bound on time, programs, memory."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, Field

from ..costs.boards import board_of
from ..costs.programs import NewPrograms
from ..costs.work import Amount


class DeviceWork(BaseModel):
    """ttnn calls, and what they cost the device at least."""

    calls: int = 0
    bytes_read: int = 0  # from the device's memory, with padding, as `bytes_written`
    bytes_written: int = 0
    bytes_unpadded: int = 0  # of both, without padding
    flops: int = 0  # of the matrix unit; a multiplication and an addition count as two
    # Of each call, the longer of two times: its bytes at the DRAM's bandwidth, and its products at the peak of the
    # matrix unit. No card can be faster, if it keeps results in DRAM as ttnn does; most calls take longer.
    bound_seconds: float = 0.0
    peak_bytes: int = 0  # of the device's memory that the session held, at the calls that were looked at
    # Calls of which only the name is known, so that nothing else counts them.
    unseen: int = Field(default=0, exclude_if=lambda count: not count)

    @property
    def bytes_moved(self) -> int:
        """Bytes read and written."""
        return self.bytes_read + self.bytes_written

    @property
    def padding(self) -> float:
        """The share of padding in the bytes."""
        return 1 - self.bytes_unpadded / self.bytes_moved if self.bytes_moved else 0.0

    def and_also(self, other: DeviceWork) -> DeviceWork:
        """The sum of both."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in DeviceWork.model_fields}
        return DeviceWork(**sums | {"peak_bytes": max(self.peak_bytes, other.peak_bytes)})

    def plus(self, amount: Amount, arch: str) -> DeviceWork:
        """This and an amount, in the time of the board with a chip of `arch`."""
        return DeviceWork(
            calls=self.calls + amount.calls,
            bytes_read=self.bytes_read + amount.read,
            bytes_written=self.bytes_written + amount.written,
            bytes_unpadded=self.bytes_unpadded + amount.logical,
            flops=self.flops + amount.flops,
            bound_seconds=self.bound_seconds + amount.in_seconds(arch),
            peak_bytes=max(self.peak_bytes, amount.peak),
            unseen=self.unseen + amount.unseen,
        )


class ProgramRow(BaseModel):
    """New programs that calls alike have made."""

    op: str  # of the program, or what else ttreg did
    call: str = ""  # of ttnn
    operands: str = ""  # its tensors
    line: str = ""  # of Python: the innermost outside PyTorch and ttreg
    count: int = 0


class ProgramCounts(BaseModel):
    """Programs that the device did not have before. ttnn compiles each of them for the chip."""

    new: int = 0
    estimated: bool = False  # from shapes, dtypes, layouts and arguments; else ttnn counted them
    made_by: list[ProgramRow] = []  # the most first

    def by_op(self) -> Counter[str]:
        """How many calls of each op have made."""
        counts: Counter[str] = Counter()
        for row in self.made_by:
            counts[row.op] += row.count
        return counts


class DeviceMemory(BaseModel):
    """The most memory of the device that the session held, as far as it looked: at some of the calls."""

    peak_bytes: int = 0
    op: str = ""  # what ran then


class Cost(BaseModel):
    """What the device had to do in all."""

    board: str = ""  # which the bound on time is of
    total: DeviceWork = DeviceWork()
    besides: dict[str, DeviceWork] = {}  # what belongs to no op: views when they are needed, conversions
    memory: DeviceMemory = DeviceMemory()


def calls_by_name(of_ops: Amount, besides: dict[str, Amount], uploads: int, downloads: int) -> dict[str, int]:
    """All ttnn calls by name, the most frequent first; uploads are calls of `from_torch`, downloads of `to_torch`."""
    names = Counter({"from_torch": uploads, "to_torch": downloads})
    for amount in (of_ops, *besides.values()):
        names.update(amount.names)
    return {name: count for name, count in names.most_common() if count}


def program_counts(made: NewPrograms, estimated: bool) -> ProgramCounts:
    """The new programs of a session."""
    rows = [ProgramRow(**maker._asdict(), count=count) for maker, count in made.by_maker.most_common()]
    return ProgramCounts(new=made.total, estimated=estimated, made_by=rows)


def cost_of(of_ops: Amount, besides: dict[str, Amount], arch: str, peak: int, peak_at: str) -> Cost:
    """What ops had the device do and what belongs to none, and the most memory, with what ran then."""
    total = Amount()
    for amount in (of_ops, *besides.values()):
        total.add(amount)
    return Cost(
        board=board_of(arch).name,
        total=DeviceWork().plus(total, arch),
        besides={label: DeviceWork().plus(amount, arch) for label, amount in besides.items()},
        memory=DeviceMemory(peak_bytes=peak, op=peak_at),
    )
