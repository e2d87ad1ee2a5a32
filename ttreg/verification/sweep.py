"""Sweeps an elementwise op over special values, over [-10, 10] and over a wide range, in one call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import inf, nan

import torch

from ..checking.compare import TOLERANCES
from ..measured import SpecialValue
from ..pytorch_private import tree_leaves, tree_map_only
from ..registry import Entry
from ..samples import Sample
from .trial import Output
from .values import Sweep, errors

DTYPES = (torch.float32, torch.bfloat16)
KEPT = 24  # special values that differ, of one sweep

_MAGNITUDES = (
    1e-40,
    1e-30,
    1e-10,
    0.5,
    1.0,
    2.0,
    3.0,
    88.0,
    89.0,
    100.0,
    104.0,
    8388609.0,
    2147483648.0,
    1e10,
    1e30,
    3e38,
)
_VALUES = (nan, inf, -inf, 0.0, -0.0, *(sign * value for value in _MAGNITUDES for sign in (1.0, -1.0)))
_USUAL, _WIDE = 2048, 1024  # values on [-10, 10] and of the wide range

# These are elementwise too, though PyTorch does not tag them.
_UNTAGGED = ("aten.hardswish.default", "aten.rsub.Tensor", "aten.floor_divide.default", "aten._prelu_kernel.default")


@dataclass(frozen=True)
class Inputs:
    """A call of an op on all values of a sweep. Each tensor is a vector: first special values, then the others."""

    sample: Sample
    tensors: list[torch.Tensor]
    special: int


def sweeps(entry: Entry, dtype: torch.dtype) -> Iterator[Inputs]:
    """The sweep's call in that dtype. None if the op is not elementwise, or if no sample can be swept.

    It is the first such sample that has one or two tensors, all of that dtype; its other arguments stay.
    """
    if torch.Tag.pointwise not in entry.op.tags and str(entry.op) not in _UNTAGGED:
        return
    for sample in entry.samples():
        tensors = [leaf for leaf in tree_leaves((sample.args, sample.kwargs)) if isinstance(leaf, torch.Tensor)]
        if len(tensors) in (1, 2) and all(tensor.dtype is dtype for tensor in tensors):
            values = _values(len(tensors), dtype)
            args, kwargs = tree_map_only(torch.Tensor, partial(_next, iter(values)), (sample.args, sample.kwargs))
            yield Inputs(Sample(*args, **kwargs), values, len(_VALUES) ** len(tensors))
            return


def swept(inputs: Inputs, output: Output, expected: Output) -> Sweep:
    """What the sweep found."""
    given, wanted, end = output.values, expected.values, inputs.special + _USUAL
    tolerance = TOLERANCES.get(wanted.dtype, (0.0, 0.0))
    same = torch.isclose(given.double(), wanted.double(), *tolerance, equal_nan=True)
    places = [place for place in (~same).nonzero().flatten().tolist() if place < inputs.special]
    return Sweep(
        tried=inputs.special,
        differ=len(places),
        special=[
            SpecialValue(
                inputs=[_shown(tensor[place]) for tensor in inputs.tensors],
                cpu=_shown(wanted[place]),
                chip=_shown(given[place]),
            )
            for place in places[:KEPT]
        ],
        usual=errors(given[inputs.special : end], wanted[inputs.special : end]),
        wide=errors(given[end:], wanted[end:]),
    )


def _next(left: Iterator[torch.Tensor], _: torch.Tensor) -> torch.Tensor:
    return next(left)


def _values(tensors: int, dtype: torch.dtype) -> list[torch.Tensor]:
    special = torch.tensor(list(itertools.product(_VALUES, repeat=tensors)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(20)
    usual = torch.rand(_USUAL, tensors, generator=generator, dtype=torch.float64) * 20 - 10
    if tensors == 1:
        usual = torch.linspace(-10, 10, _USUAL, dtype=torch.float64)[:, None]
    exponents = torch.rand(_WIDE, tensors, generator=generator, dtype=torch.float64) * 76 - 38
    signs = torch.randint(2, (_WIDE, tensors), generator=generator, dtype=torch.int64) * 2 - 1
    return list(torch.cat([special, usual, signs * 10**exponents]).T.to(torch.float32).to(dtype).contiguous())


def _shown(value: torch.Tensor) -> str:
    return f"{float(value):.7g}" if value.is_floating_point() else str(value.item())
