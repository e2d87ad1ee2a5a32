"""Runs of `ttreg bench` that were saved, and what changed between two, in units of the plain CPU of each run."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from ..errors import TtregError
from .ops import WAYS, Benchmark, Row, Time

# A smaller change is noise, as is one within the spread of what it is made of.
NOISE = 0.1


class Change(BaseModel):
    """The change of one call in one way of running it: times before and now, in units of plain CPU."""

    op: str
    call: str
    way: str
    before: float
    now: float
    noise: float  # a change up to this factor, minus 1, is noise

    @property
    def factor(self) -> float:
        """The time now, divided by the time before."""
        return self.now / self.before


def read_benchmark(path: Path) -> Benchmark:
    """The run whose `ttreg bench --json` the file is.

    Raises TtregError where it cannot be read, or is something else.
    """
    try:
        return Benchmark.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TtregError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise TtregError(f"{path} is not what ttreg bench --json prints ({where}: {fault['msg']})") from error


def changes(before: Benchmark, now: Benchmark) -> list[Change]:
    """The changes above noise of calls that are in both runs, worst first."""
    known = {(row.op, row.call): row for row in before.rows}
    pairs = [(known[row.op, row.call], row) for row in now.rows if (row.op, row.call) in known]
    others = [way for way in WAYS if way != "cpu"]
    found = [change for old, new in pairs for way in others if (change := _change(old, new, way)) is not None]
    return sorted(
        (change for change in found if max(change.factor, 1 / change.factor) > 1 + change.noise),
        key=lambda change: -change.factor,
    )


def in_common(before: Benchmark, now: Benchmark) -> int:
    """How many calls both runs have."""
    return len({(row.op, row.call) for row in before.rows} & {(row.op, row.call) for row in now.rows})


def _change(old: Row, new: Row, way: str) -> Change | None:
    times: list[Time | None] = [getattr(old, way), old.cpu, getattr(new, way), new.cpu]
    if any(time is None or not time.microseconds for time in times):
        return None
    was, was_cpu, is_now, cpu = (time for time in times if time is not None)
    return Change(
        op=new.op,
        call=new.call,
        way=way,
        before=was.microseconds / was_cpu.microseconds,
        now=is_now.microseconds / cpu.microseconds,
        noise=max(NOISE, *(time.spread for time in (was, was_cpu, is_now, cpu))),
    )
