"""Cumulative sums and products."""

from __future__ import annotations

import torch

from ..apart import AllBut
from ..conditions import FLOATS, OneOf, Rank
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from .vocabulary import as_out, widen

aten = torch.ops.aten

ACCUMULATED = Tensor(FLOATS, because="PyTorch accumulates integers in int64")
WHEN = [
    OneOf("dtype", (None, *FLOATS)),
    Rank("self", range(1, 6), because="ttnn accumulates in one to five dimensions"),
]


def samples():
    for dtype in FLOATS:
        yield Sample(rand(33, dtype=dtype), 0)
        yield Sample(rand(5, 7, dtype=dtype), -1)
        yield Sample(rand(40, 33, dtype=dtype), 0)
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), 1)
        yield Sample(rand(2, 2, 3, 5, 7, dtype=dtype), -2)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), 0, dtype=torch.float32)
    yield Sample(rand(5, 7), 0, dtype=torch.float64)
    yield Sample(rand(5, 7).double(), 0)
    yield Sample(rand(), 0)


@lower(aten.cumsum.default, samples=samples, takes=ACCUMULATED, when=WHEN, apart=AllBut("self"))
def cumsum(tt, self, dim, dtype, out):
    return as_out(tt, tt.cumsum(widen(tt, self), dim=dim), out)


@lower(aten.cumprod.default, samples=samples, takes=ACCUMULATED, when=WHEN, apart=AllBut("self"))
def cumprod(tt, self, dim, dtype, out):
    return as_out(tt, tt.cumprod(widen(tt, self), dim=dim), out)
