"""The measured accuracy of the entries on a chip, as data of the package: how far values are from the CPU's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..errors import TtregError

FILE = Path(__file__).with_name("figures.jsonl")


class Measurement(BaseModel):
    """What was measured on: a chip or a simulator, with which ttnn, and the day."""

    on: str
    arch: str
    ttnn: str
    taken: str

    def __str__(self) -> str:
        return f"{self.on} ({self.arch}), ttnn {self.ttnn}, {self.taken}"


class Errors(BaseModel):
    """How far values are from the CPU's; `max_abs`, `max_rel` and `ulps` where both are finite.

    Relative to the CPU's value, or to the chip's where the CPU's is 0.
    """

    max_abs: float = 0.0
    max_rel: float = 0.0
    ulps: float = 0.0  # units in the last place of the dtype
    nonfinite: int = 0  # places where one is NaN or an infinity and the other is something else
    wrong: int = 0  # places outside of the dtype's tolerance


class Part(BaseModel):
    """What was measured of one call."""

    call: str  # a digest of the aten call's text
    calls: str  # of the ttnn calls that were made for it
    changed: bool = False  # whether the lowering makes other calls now


class SampleFigures(Part, Errors):
    """The figures of a sample; `failed` says why there are none."""

    pcc: float = 1.0
    failed: str = ""


class SpecialValue(BaseModel):
    """Inputs for which the chip gives another value than the CPU, as text because of NaN and infinities."""

    inputs: list[str]
    cpu: str
    chip: str

    def __str__(self) -> str:
        return f"{', '.join(self.inputs)} gives {self.chip} (CPU {self.cpu})"


class SweepFigures(Part):
    """An elementwise op on [-10, 10], if that was measured, and the special values where chip and CPU differ."""

    usual: Errors | None = None
    tried: int = 0
    differ: int = 0
    special: list[SpecialValue] = []  # the first of them
    run: int = 0


class Figures(BaseModel):
    """What was measured of an entry in a dtype."""

    op: str
    dtype: str
    run: int = 0  # which measurement the samples are of
    samples: list[SampleFigures] = []
    sweep: SweepFigures | None = None

    def of_now(self) -> list[SampleFigures]:
        """The samples whose ttnn calls are still those that were measured."""
        return [sample for sample in self.samples if not sample.changed and not sample.failed]

    def of_samples(self) -> Errors | None:
        """The largest of each measure over those samples; None if there are none."""
        now = self.of_now()
        return largest(now) if now else None

    def of_sweep(self) -> SweepFigures | None:
        """The results on [-10, 10] and for special values, if the lowering still makes the same calls."""
        return self.sweep if self.sweep is not None and not self.sweep.changed else None

    def worst_relative(self) -> float | None:
        """The worst relative error over the samples and on [-10, 10]; None if no figure is valid any more."""
        sweep = self.of_sweep()
        found = self.of_samples(), sweep.usual if sweep is not None else None
        return max((errors.max_rel for errors in found if errors is not None), default=None)


def largest(found: Sequence[Errors]) -> Errors:
    """The largest of each measure."""
    fields = Errors.model_fields
    return Errors(**{name: max((getattr(one, name) for one in found), default=0) for name in fields})


class Measured(BaseModel):
    """All figures, and the measurements that they are of."""

    runs: list[Measurement]
    figures: dict[tuple[str, str], Figures]  # by op and dtype


def read(path: Path | None = None) -> Measured:
    """The figures that a file holds, the package's if none is named; raises TtregError for one that has none."""
    path = path or FILE
    try:
        first, *lines = path.read_text().splitlines()
        runs = TypeAdapter(list[Measurement]).validate_json(first)
        figures = [Figures.model_validate_json(line) for line in lines]
    except (OSError, ValueError, ValidationError) as error:
        raise TtregError(f"{path} has no figures of ttreg's: {str(error).partition(chr(10))[0]}") from error
    return Measured(runs=runs, figures={(f.op, f.dtype): f for f in figures})


def write(measured: Measured, path: Path | None = None) -> None:
    """Write the figures to a file, the package's if none is named: a line for each op and dtype, in order."""
    used = sorted({n for f in measured.figures.values() for n in (f.run, *([f.sweep.run] if f.sweep else ()))})
    lines = [TypeAdapter(list[Measurement]).dump_json([measured.runs[n] for n in used]).decode()]
    for _, figures in sorted(measured.figures.items()):
        kept = figures.model_copy(deep=True)
        kept.run = used.index(kept.run)
        if kept.sweep is not None:
            kept.sweep.run = used.index(kept.sweep.run)
        lines.append(kept.model_dump_json(exclude_defaults=True))
    (path or FILE).write_text("\n".join(lines) + "\n")


@lru_cache
def packaged() -> Measured:
    """The figures of the package."""
    return read()
