"""The times of an op in a run of `ttreg bench`, for `ttreg show`."""

from __future__ import annotations

from ..bench.ops import WAYS, Benchmark, Row
from .catalogue import Measured


def measured(benchmark: Benchmark, op: str) -> tuple[Measured, ...]:
    """The calls of the op that the run timed."""
    return tuple(Measured(row.call, _times(row), _taken(benchmark)) for row in benchmark.rows if row.op == op)


def _times(row: Row) -> dict[str, float]:
    return {way: time.microseconds for way in WAYS if (time := getattr(row, way)) is not None}


def _taken(benchmark: Benchmark) -> str:
    machine = dict(benchmark.machine)
    cpu = machine.pop("cpu", "an unnamed CPU")
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    day = benchmark.taken or "on a day that the file does not say"
    return f"{day}, {cpu}, {versions}, {benchmark.arch}, {benchmark.rounds} rounds"
