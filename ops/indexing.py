"""Elements at the places that integer tensors name, as in `x[rows, columns]`."""

from __future__ import annotations

from math import prod

import torch

from ..call import Call
from ..conditions import INDICES
from ..exact.cost import tiles
from ..meta import Meta, meta_of
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..specs import Indices, Tensor
from .embedding import LOOKED_UP, NAN_IN_PARTS, TABLES, rows_among
from .vocabulary import as_shape, permuted

aten = torch.ops.aten

# A result is kept for the next call with the same weight and places if it takes no more bytes.
MOST_KEPT = 2**20

MASKS = "the true places of a mask give the output its shape"


def indexed():
    for table in (rand(33, 40), rand(33, 40, dtype=torch.bfloat16), bools(33, 40)):
        yield Sample(table, [ints(3, high=33)])
        yield Sample(table, [ints(7, high=33), ints(7, high=40)])
    x = rand(4, 5, 6)
    yield Sample(x, [None, ints(2, 3, high=5)])
    yield Sample(x, [None, None, torch.tensor([-1, 0, -6, 5])])
    yield Sample(x, [None, ints(3, 1, high=5), ints(2, high=6)])
    yield Sample(x, [ints(3, high=4), None, ints(3, high=6, dtype=torch.int32)])
    yield Sample(x, [ints(high=4), ints(2, high=5), ints(1, high=6)])
    yield Sample(x.transpose(0, 2), [None, ints(3, high=5)])
    yield Sample(x, [ints(3, 4, high=4).t()])
    yield Sample(rand(2, 3, 4, 5), [None, ints(7, high=3), ints(7, high=4)])
    yield Sample(rand(2, 3, 4, 5), [None, ints(7, high=3), None, ints(7, high=5)])
    yield Sample(x, [bools(4, 5)])
    yield Sample(x, [None, bools(5), ints(1, high=6)])
    yield Sample(x, [ints(3, high=4, dtype=torch.uint8)])
    yield Sample(x.double(), [ints(3, high=4)])
    yield Sample(ints(4, 5), [ints(3, high=4)])


def as_on_cpu(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The output as CPU lays it out: PyTorch's shape function knows that for the default strides only."""
    if all(meta.ndim and meta.at_start().is_default for _, meta in call.tensors("self", "indices")):
        return outputs
    indices = [None if meta is None else zeros(meta, torch.int64) for meta in call["indices"]]
    return [meta_of(aten.index.Tensor(zeros(call["self"], torch.uint8), indices)).like(outputs[0].dtype)]


def zeros(meta: Meta, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of zeros with the strides of `meta`."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(meta.shape, meta.stride, strict=True))
    return torch.zeros(extent, dtype=dtype).as_strided(meta.shape, meta.stride)


INDEXED = {
    "indices": Indices(INDICES, into=lambda call: call["self"].shape, because=MASKS),
    "self": Tensor(LOOKED_UP, because=TABLES),
}


@lower(
    aten._unsafe_index.Tensor,
    samples=indexed,
    takes=INDEXED,
    chip=NAN_IN_PARTS,
    outputs=as_on_cpu,
)
@lower(
    aten.index.Tensor,
    samples=indexed,
    takes=INDEXED,
    chip=NAN_IN_PARTS,
    outputs=as_on_cpu,
)
def index(tt, self, indices):
    shape = list(self.shape)
    dims = [dim for dim, given in enumerate(indices) if given is not None]
    rest = [dim for dim in range(len(shape)) if dim not in dims]
    joined = indices[dims[0]]
    if 4 * tiles([*joined.shape, *(shape[dim] for dim in rest)]) > MOST_KEPT:
        return taken(tt, self, joined, dims, rest)
    # Models take the same places of a small weight at each pass: the biases of relative positions.
    return tt.prepared(self, ("taken", *dims), lambda: taken(tt, self, joined, dims, rest), (joined,))


def taken(tt, self, joined, dims, rest):
    """The elements at the places in these dimensions; of the other ones, all."""
    shape = list(self.shape)
    first = permuted(tt, self, [*dims, *rest])
    table = as_shape(tt, first, [prod(shape[dim] for dim in dims), prod(shape[dim] for dim in rest)])
    found = rows_among(tt, table, joined, [*joined.shape, *(shape[dim] for dim in rest)])
    # Indexed dimensions stay where they are if they are neighbours; else they come first.
    before = dims[0] if dims[-1] - dims[0] < len(dims) else 0
    rank = len(joined.shape)
    order = [*range(rank, rank + before), *range(rank), *range(rank + before, len(found.shape))]
    return tt.permute(found, order) if before and rank else found
