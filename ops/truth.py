"""Reductions of truth values, and of numbers as truth values: any, all, how many."""

from __future__ import annotations

import torch

from ..conditions import BOOL, FLOATS
from ..registry import lower
from ..samples import Sample, bools, rand
from .vocabulary import COUNTABLE, at_most, contiguous, reduce, widen

aten = torch.ops.aten

TRUTHS = (*FLOATS, *BOOL)


def truths():
    """Tensors of truth values and numbers; the last one is refused."""
    yield bools(33)
    yield torch.ones(5, 7, dtype=torch.bool)
    for dtype in FLOATS:
        values = rand(3, 40, 33, dtype=dtype)
        values[0, :, 4:], values[1, 5] = 0, torch.nan
        yield values
        yield torch.zeros(2, 3, 5, 7, dtype=dtype)
    yield torch.tensor(True)
    yield torch.zeros(5, 7, dtype=torch.float64)


def of_all():
    for values in truths():
        yield Sample(values)


def of_dim():
    for values in truths():
        yield Sample(values, -1)
        yield Sample(values, 0, True)


def of_dims():
    for values in truths():
        yield Sample(values)
        yield Sample(values, [], True)
        yield Sample(values, [-1], True)
        if values.ndim > 1:
            yield Sample(values, [0, 1])


def true_in(tt, name, self, dim=None, keepdim=False):
    return reduce(tt, name, tt.ne(self, 0.0), dim, keepdim)


def lower_truth(packet, name):
    """Entries for the overloads of `any` or `all`: the largest or the smallest of the truth values."""

    @lower(packet.default, samples=of_all, takes=TRUTHS)
    def of_every(tt, self):
        return true_in(tt, name, self)

    @lower(packet.dim, samples=of_dim, takes=TRUTHS)
    def of_one(tt, self, dim, keepdim):
        return true_in(tt, name, self, dim, keepdim)

    @lower(packet.dims, samples=of_dims, outputs=contiguous, takes=TRUTHS)
    def of_several(tt, self, dim, keepdim):
        return tt.ne(self, 0.0) if dim == [] else true_in(tt, name, self, dim, keepdim)


lower_truth(aten.any, "max")
lower_truth(aten.all, "min")


COUNTS = [
    at_most(COUNTABLE, "self.numel() <= {}", lambda call: call["self"].numel, because="float32 counts no further")
]


def many():
    return rand(1, 1).expand(4096, 4097)


def counts_of_dim():
    for values in truths():
        yield Sample(values)
        yield Sample(values, -1)
    yield Sample(many())


def counts_of_dims():
    for values in truths():
        yield Sample(values, [-1])
        if values.ndim > 1:
            yield Sample(values, [0, 1])
    yield Sample(many(), [0])


@lower(aten.count_nonzero.default, samples=counts_of_dim, takes=TRUTHS, when=COUNTS)
def count_nonzero(tt, self, dim):
    return tt.typecast(reduce(tt, "sum", widen(tt, tt.ne(self, 0.0)), dim), tt.int32)


@lower(aten.count_nonzero.dim_IntList, samples=counts_of_dims, takes=TRUTHS, when=COUNTS)
def count_nonzero_of_dims(tt, self, dim):
    return count_nonzero(tt, self, dim)
