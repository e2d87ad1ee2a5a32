"""Where values belong in sorted sequences."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from ..call import Call
from ..conditions import NUMBERS, Check, OneOf, Rank
from ..meta import Meta
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Index, together
from .vocabulary import FITS, HELD, as_shape, at_most, folded, is_number, one_number, reduce, torch_dtype, widen

aten = torch.ops.aten


def compared(sequence: str, values: str) -> Check:
    def pairs(call: Call) -> int:
        return call[sequence].shape[-1] * (call[values].numel if isinstance(call[values], Meta) else 1)

    return at_most(
        HELD,
        "at most {} pairs of a value and a place",
        pairs,
        because="each value is compared with the whole sequence, and the results are added up in float32",
    )


def contiguous(*names: str) -> Check:
    def scattered(call: Call) -> str | None:
        found = [name for name in names if isinstance(call[name], Meta) and not call[name].on_meta().is_contiguous()]
        return ", ".join(found) or None

    return Check("no tensor with gaps or turned", scattered, because="PyTorch copies it, and warns of that")


def places(tt, sequence, values, right):
    """How many elements of the sorted sequence come before each value: all of them before NaN, as in PyTorch."""
    dtype = torch_dtype(tt, sequence)
    if is_number(values):
        values = tt.constant(one_number(values, dtype))
        before = tt.le(sequence, values) if right else tt.lt(sequence, values)
        return tt.typecast(reduce(tt, "sum", widen(tt, before)), tt.int32)
    shape = list(values.shape)
    *lead, size = sequence.shape
    sequence = as_shape(tt, sequence, [prod(lead), 1, size])
    values = as_shape(tt, values, [prod(lead), prod(shape) // prod(lead), 1])
    before = widen(tt, tt.le(sequence, values) if right else tt.lt(sequence, values))
    count = tt.sum(before, dim=-1, keepdim=True)
    if dtype.is_floating_point:
        count = tt.where(widen(tt, tt.isnan(values)), float(size), count)
    return as_shape(tt, tt.typecast(count, tt.int32), shape)


def ordered(*shape, dtype=torch.float32):
    """Sequences with elements that occur twice; bfloat16 and int32 hold them exactly."""
    return (rand(*shape) * 4).round().sort(-1)[0].to(dtype)


def cases():
    """Sequences and values to look for in them, then what is refused."""
    for dtype in NUMBERS:
        yield ordered(7, dtype=dtype), ordered(5, 3, dtype=dtype)
        yield ordered(40, dtype=dtype), ordered(33, dtype=dtype)
        yield ordered(33, dtype=dtype), ordered(dtype=dtype)
        yield ordered(7, dtype=dtype), ordered(2, 1, 3, 2, 2, 1, dtype=dtype)
    yield ordered(9), torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 0.0])
    yield torch.tensor([-torch.inf, -0.0, 0.0, torch.inf]), torch.tensor([torch.inf, -torch.inf, -0.0, 0.0])
    yield ordered(7, dtype=torch.int32), rand(5)
    yield ordered(7), ordered(7).double()
    yield rand(1).expand(4097), rand(1).expand(4096)
    yield ordered(7), rand(3, 5).mT


OPTIONS: tuple[dict[str, Any], ...] = ({}, {"right": True}, {"out_int32": True})


def bucket_samples():
    for sequence, values in cases():
        for options in OPTIONS:
            yield Sample(values, sequence, **options)
    yield Sample(ordered(2, 3), ordered(2, 7))


@lower(
    aten.bucketize.Tensor,
    samples=bucket_samples,
    takes=together(("self", "boundaries"), NUMBERS),
    when=[
        Rank("boundaries", (1,), because="PyTorch takes no others"),
        compared("boundaries", "self"),
        contiguous("self", "boundaries"),
    ],
)
def bucketize(tt, self, boundaries, out_int32, right):
    return places(tt, boundaries, self, right)  # int64 is carried in int32 as well


SIDES: tuple[dict[str, Any], ...] = ({"side": "left"}, {"side": "right"}, {"right": True, "side": "right"})
SIDE = OneOf("side", (None, "left", "right"))


def longest(call: Call) -> int:
    return call["sorted_sequence"].shape[-1]


SEARCHED = {
    **together(("sorted_sequence", "self"), NUMBERS),
    "sorter": Index((torch.int64,), below=longest, because="PyTorch takes no other"),
}


def in_order(tt, sequence, sorter):
    """The sequence in the order of the sorter, or as it is without one."""
    if sorter is None:
        return sequence
    return tt.gather(folded(tt, sequence, 2), 1, index=folded(tt, sorter, 2))


def searched_samples():
    for sequence, values in cases():
        for options in (*OPTIONS, *SIDES):
            yield Sample(sequence, values, **options)
    for dtype in NUMBERS:
        yield Sample(ordered(3, 40, dtype=dtype), ordered(3, 5, dtype=dtype))
        yield Sample(ordered(2, 1, 3, 7, dtype=dtype), ordered(2, 1, 3, 33, dtype=dtype), right=True)
        for shape in ((7,), (3, 40), (2, 1, 3, 33)):
            mixed = ordered(*shape, dtype=dtype).flip(-1).roll(2, -1)
            yield Sample(mixed, ordered(*shape[:-1], 5, dtype=dtype), sorter=mixed.argsort(-1))
    yield Sample(ordered(7), rand(5), sorter=torch.arange(7, dtype=torch.int32))
    yield Sample(ordered(3, 7), rand(3, 5), sorter=torch.arange(21).view(7, 3).mT % 7)
    yield Sample(ordered(7), rand(5), side="middle")


@lower(
    aten.searchsorted.Tensor,
    samples=searched_samples,
    takes=SEARCHED,
    when=[SIDE, compared("sorted_sequence", "self"), contiguous("sorted_sequence", "self", "sorter")],
)
def searchsorted(tt, sorted_sequence, self, out_int32, right, side, sorter):
    return places(tt, in_order(tt, sorted_sequence, sorter), self, right or side == "right")


def number_samples():
    for dtype in NUMBERS:
        for value in (1, -1.5, 0.0, 7, -9, 1.00390625):
            for options in (*OPTIONS, *SIDES):
                yield Sample(ordered(40, dtype=dtype), value, **options)
        yield Sample(ordered(40, dtype=dtype).flip(0), 1, sorter=torch.arange(40).flip(0))
    yield Sample(ordered(7), 1.0, sorter=torch.arange(7, dtype=torch.int32))
    yield Sample(ordered(7), 1.0, side="middle")
    yield Sample(ordered(7).double(), 1.0)
    yield Sample(ordered(7, dtype=torch.int32), 2**40)
    yield Sample(rand(1).expand(HELD + 1), 1.0)
    yield Sample(rand(7, 3).mT, 1.0)


@lower(
    aten.searchsorted.Scalar,
    samples=number_samples,
    takes=SEARCHED,
    when=[SIDE, FITS, compared("sorted_sequence", "self"), contiguous("sorted_sequence", "sorter")],
)
def searchsorted_number(tt, sorted_sequence, self, out_int32, right, side, sorter):
    return places(tt, in_order(tt, sorted_sequence, sorter), self, right or side == "right")
