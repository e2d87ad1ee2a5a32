"""What `ttreg bench` measured of an op, from a file that a user saved, for `ttreg show`."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ..bench.ops import WAYS, Benchmark, Row
from ..errors import TtregError
from .catalogue import Measured


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
