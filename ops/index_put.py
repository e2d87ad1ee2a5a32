"""Writes to the places that integer tensors name, and to the true places of a mask: `x[rows] = y`, `x[mask] = 0`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from ..call import Call
from ..conditions import BOOL, FLOATS, INDICES, Check, Rank, SameDtype
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..specs import Arrival, Indices, Tensor
from .scatter import index_copy
from .scatter_reduction import index_add
from .vocabulary import COUNTABLE, as_shape, at_most, moved_first, permuted, permuted_back, shape_of

aten = torch.ops.aten


@dataclass(frozen=True)
class _Places(Indices):
    """Indices, or one mask, which arrives as it is."""

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        if mask_of(call) is not None:
            return Tensor(BOOL).arrival(call, None, False)
        return super().arrival(call, dtype, exact)

    def says(self) -> str:
        return f"{super().says()}, or a mask"


def put():
    for dtype in FLOATS:
        x = rand(5, 7, dtype=dtype)
        yield Sample(x, [ints(3, high=5)], rand(3, 7, dtype=dtype))
        yield Sample(x, [ints(3, high=5), torch.tensor([-1, 0, 6])], rand(3, dtype=dtype))
        yield Sample(x, [bools(5, 7)], rand(dtype=dtype))
        yield Sample(x, [ints(6, high=5)], rand(6, 7, dtype=dtype), True)
    x = rand(2, 4, 33, 8)
    yield Sample(x, [None, None, torch.tensor([32])], rand(2, 4, 1, 8))
    yield Sample(x, [None, None, torch.tensor([3, 1, 3])], rand(8))
    yield Sample(x, [torch.tensor([1, 0]), None, torch.tensor([2, 2])], rand(2, 4, 8))
    yield Sample(x, [None, ints(2, 3, high=4)], rand(2, 2, 3, 33, 8), True)
    yield Sample(x, [None, bools(4)], rand(2, 1, 33, 8))
    yield Sample(x, [bools(2, 4)], rand(8), True)
    yield Sample(x, [None, bools(4), ints(1, high=33)], rand())
    yield Sample(rand(5, 7), [bools(5)], rand(5, 7))
    yield Sample(rand(5, 7), [ints(5, 7, high=2).to(torch.uint8)], rand())
    yield Sample(rand(5, 7), [ints(3, high=5)], rand(3, 7, dtype=torch.bfloat16))
    yield Sample(rand(5, 7).double(), [ints(3, high=5)], rand(3, 7).double())
    yield Sample(rand(1, 1, 1, 1, 1, 1, 2), [ints(1, high=1)], rand())
    yield Sample(rand(1).expand(COUNTABLE + 1), [ints(1)], rand())


def mask_of(call):
    """The mask among the indices, if there is one."""
    return next((meta for meta in call["indices"] if meta is not None and meta.dtype is torch.bool), None)


def dims_of(call):
    """How many dimensions of the tensor lie before what is indexed, and how many behind it."""
    place = next(place for place, meta in enumerate(call["indices"]) if meta is not None)
    return place, call["self"].ndim - place - (mask_of(call) or call["indices"][place]).ndim


def depends_on_the_mask(call):
    mask, values = mask_of(call), call["values"]
    if mask is None:
        return None
    if sum(meta is not None for meta in call["indices"]) > 1:
        return "a mask beside other indices"
    _, after = dims_of(call)
    places = values.shape[values.ndim - after - 1] if values.ndim > after else 1
    return None if places == 1 else f"{values} for {mask}"


def copies(call):
    return not call["accumulate"]


def places(call):
    if mask_of(call) is not None:
        return 0
    return prod(size for size, given in zip(call["self"].shape, call["indices"], strict=False) if given is not None)


PUT: dict[str, Any] = {
    "takes": {
        "self": Tensor(FLOATS),
        "indices": _Places((*INDICES, torch.bool), into=lambda call: call["self"].shape, as_numbers=copies),
        "values": Tensor(FLOATS),
    },
    "when": [
        SameDtype(("self", "values")),
        Rank("self", range(1, 7)),
        Check(
            "with a mask, one value for all its places",
            depends_on_the_mask,
            because="which goes where is in its values",
        ),
        at_most(COUNTABLE, "the indices name at most {} places", places, because="they are counted in float32"),
    ],
}


@lower(aten._unsafe_index_put.default, samples=put, **PUT)
@lower(aten.index_put.default, samples=put, **PUT)
def index_put(tt, self, indices, values, accumulate):
    dims = [dim for dim, given in enumerate(indices) if given is not None]
    joined = indices[dims[0]]
    if joined.dtype == tt.carrier(torch.bool):
        return put_by_mask(tt, self, joined, dims[0], values, accumulate)
    shape, taken = shape_of(self), shape_of(joined)
    order = moved_first(dims, len(shape))
    rest = [shape[dim] for dim in order[len(dims) :]]
    # The values have the indexed dimensions where these are, if they are neighbours; else first.
    before = dims[0] if dims[-1] - dims[0] < len(dims) else 0
    given = [*rest[:before], *taken, *rest[before:]]
    values = values if values.shape == given else tt.expand(values, tuple(given))
    values = permuted(tt, values, moved_first(range(before, before + len(taken)), len(given)))
    table = as_shape(tt, permuted(tt, self, order), [prod(shape[dim] for dim in dims), prod(rest)])
    rows = as_shape(tt, values, [prod(taken), prod(rest)])
    if accumulate:
        index = tt.to_layout(as_shape(tt, joined, [prod(taken)]), tt.ROW_MAJOR_LAYOUT)
        made = index_add(tt, table, 0, index, rows, 1)
    else:
        made = index_copy(tt, table, 0, as_shape(tt, joined, [prod(taken)]), rows)
    return permuted_back(tt, as_shape(tt, made, [shape[dim] for dim in order]), order)


def put_by_mask(tt, self, mask, place, values, accumulate):
    after = len(self.shape) - place - len(mask.shape)
    given = shape_of(values)
    if len(given) > after + 1:  # one place of the mask's stands for all its dimensions
        values = as_shape(
            tt, values, [*given[: len(given) - after], *[1] * (len(mask.shape) - 1), *given[len(given) - after :]]
        )
    mask = as_shape(tt, mask, [*shape_of(mask), *[1] * after])
    return tt.where(mask, tt.add(self, values) if accumulate else values, self)
