"""Compares a chip's results with the CPU's: the measures of `ttreg verify --values`."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel

from ..checking.compare import TOLERANCES, close, differences, largest_ulps, pcc
from ..measured import Errors, SpecialValue, largest
from ..meta import dtype_name
from .trial import Output

# ok: within the dtype's tolerance; differs: not so, or of another form; refused: ttnn refused a call; raised: anything
# else went wrong; hung: no answer in time; vanished: the process ended; unavailable: the chip could not be opened.
Status = Literal["ok", "differs", "refused", "raised", "hung", "vanished", "unavailable"]


class Compared(Errors):
    """One output, compared with the CPU's."""

    dtype: str
    shape: list[int]
    n: int
    equal: bool
    close: bool
    pcc: float


class Sweep(BaseModel):
    """An elementwise op on special values, on [-10, 10], and on a wide range of magnitudes."""

    tried: int = 0  # special values, or pairs of them
    differ: int  # how many of them are not the CPU's
    special: list[SpecialValue]  # the first of those
    usual: Errors | None  # on [-10, 10]
    wide: Errors | None


class Values(BaseModel):
    """The outcome of a sample on a chip: its values, compared with the CPU's."""

    call: str
    dtype: str  # the dtype of the first floating-point tensor, else of the first tensor, else of the result
    status: Status
    calls: str = ""  # a digest of the ttnn calls that were made
    seconds: float = 0.0
    outputs: list[Compared] = []
    sweep: Sweep | None = None

    def worst(self) -> Errors:
        """The largest of each measure over the outputs. For a sweep, the measures on [-10, 10]."""
        return self.sweep.usual or Errors() if self.sweep is not None else largest(self.outputs)

    def pcc(self) -> float | None:
        """The least PCC of the outputs; None where there are none."""
        return min((output.pcc for output in self.outputs), default=None)


def errors(given: torch.Tensor, wanted: torch.Tensor) -> Errors:
    """How far the chip's values are from the CPU's of the same dtype and shape."""
    given, wanted = given.flatten(), wanted.flatten()
    both = given.isfinite() & wanted.isfinite()
    apart = differences(given, wanted)
    scale = wanted.double().abs()
    relative = apart / torch.where(scale > 0, scale, given.double().abs())
    relative[apart == 0] = 0.0
    tolerance = TOLERANCES.get(wanted.dtype, (0.0, 0.0))
    right = torch.isclose(given.double(), wanted.double(), *tolerance, equal_nan=True)
    return Errors(
        max_abs=_largest(apart[both]),
        max_rel=_largest(relative[both]),
        ulps=largest_ulps(given[both], wanted[both]),
        nonfinite=int((apart.isinf() & ~both).sum()),
        wrong=int((~right).sum()),
    )


def compared(output: Output, expected: Output) -> Compared:
    """Compare an output of the chip with the CPU's, which has the same metadata."""
    given, wanted = output.values, expected.values
    found = errors(given, wanted)
    return Compared(
        **found.model_dump(),
        dtype=dtype_name(wanted.dtype),
        shape=list(wanted.shape),
        n=wanted.numel(),
        equal=not found.nonfinite and found.max_abs == 0,
        close=close(given, wanted),
        pcc=round(pcc(given, wanted), 9),
    )


def _largest(values: torch.Tensor) -> float:
    return float(f"{float(values.max()):.3g}") if values.numel() else 0.0
