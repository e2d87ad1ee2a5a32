"""Elements at places that are counted through the whole tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from ..call import Call
from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Index
from ..specs.indices import within
from .index_put import index_put
from .vocabulary import COUNTABLE, as_shape, at_most

aten = torch.ops.aten


def size_of(call: Call) -> int:
    return call["self"].numel


@dataclass(frozen=True)
class _Flat(Index):
    """Indices as in `Index`; negative ones count from the end."""

    def ready(self, index: torch.Tensor, bound: int) -> torch.Tensor | None:
        return within(torch.where(index < 0, index + bound, index), bound)

    def says(self) -> str:
        return "as indices within bounds, those from the end counted from the start"


def put_samples():
    for dtype in FLOATS:
        for accumulate in (False, True):
            yield Sample(rand(5, 7, dtype=dtype), torch.tensor([3, -1, 34, 3]), rand(2, 2, dtype=dtype), accumulate)
            yield Sample(rand(2, 40, dtype=dtype), ints(3, 11, high=80), rand(33, dtype=dtype), accumulate)
    yield Sample(rand(), ints(high=1), rand())
    yield Sample(rand(5, 7).double(), ints(4), rand(4).double())
    yield Sample(rand(5, 7), ints(4), rand(4, dtype=torch.bfloat16))
    yield Sample(rand(5, 7), ints(4, dtype=torch.int32), rand(4))
    yield Sample(rand(5, 7), ints(4), rand(3))
    yield Sample(rand(1).expand(COUNTABLE + 1), ints(1), rand(1))


def other_count(call: Call) -> str | None:
    return None if call["source"].numel == call["index"].numel else str(call["source"])


@lower(
    aten.put.default,
    samples=put_samples,
    takes={
        "self": FLOATS,
        "index": _Flat((torch.int64,), below=size_of, as_numbers=lambda call: not call["accumulate"]),
        "source": FLOATS,
    },
    when=[
        SameDtype(("self", "source")),
        Check("source has an element for each index", other_count, because="PyTorch takes no others"),
        at_most(COUNTABLE, "at most {} places", size_of, because="they are counted in float32"),
    ],
)
def put(tt, self, index, source, accumulate):
    count = prod(index.shape)
    flat, index, source = (as_shape(tt, x, [prod(x.shape)]) for x in (self, index, source))
    return as_shape(tt, index_put(tt, flat, [as_shape(tt, index, [count])], source, accumulate), list(self.shape))
