"""Copies: into another dtype, another layout in memory, or over what a tensor held."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import torch

from ..apart import elementwise
from ..call import Call
from ..conditions import MOVABLE, UNSIGNED, Check, OneOf
from ..meta import dtype_name
from ..registry import lower
from ..room import InRoom
from ..samples import Sample, bools, ints, rand
from .vocabulary import BF16, CPU, FITS, PLACED, cast, number, placed_elsewhere

aten = torch.ops.aten

CASTS = [(source, target) for source in MOVABLE for target in MOVABLE]


def some(dtype: torch.dtype, *shape: int, low: float = -9.0) -> torch.Tensor:
    """Values that every dtype of MOVABLE takes without overflow."""
    if dtype is torch.bool:
        return bools(*shape)
    values = rand(*shape, low=low, high=9.0)
    return (values if dtype.is_floating_point else values.round()).to(dtype)


def cast_samples():
    for source, target in CASTS:
        low = 0.0 if torch.uint8 in (source, target) else -9.0
        yield Sample(some(source, 5, 7, low=low), dtype=target)
    for dtype in MOVABLE:
        yield Sample(some(dtype, 2, 3, 40, low=0.0))
    yield Sample(rand(), dtype=BF16)
    yield Sample(torch.tensor([0.0, -0.0, float("nan"), 1e-30]), dtype=torch.bool)
    yield Sample(rand(1, 3, 4, 5), memory_format=torch.channels_last)
    yield Sample(rand(2, 1, 2, 1, 3, 5), dtype=BF16, non_blocking=True)
    yield Sample(rand(5, 7), dtype=BF16, layout=torch.strided, device=CPU, pin_memory=False)
    yield Sample(rand(5, 7), dtype=torch.float64)
    yield Sample(rand(5, 7), dtype=torch.int64)
    for dtype in MOVABLE:
        yield Sample(ints(5, 7), dtype=dtype)
    yield Sample(torch.tensor([-(2**31), 2**31 - 1, 2**24 + 1, 257, -1]), dtype=torch.float32)
    yield Sample(torch.tensor([-(2**31), 2**31 - 1, 2**24 + 1, 257, -1]), dtype=torch.int32)
    yield Sample(rand(5, 7).double(), dtype=torch.float32)
    yield from placed_elsewhere(rand(5, 7))


@lower(
    aten._to_copy.default,
    samples=cast_samples,
    takes=(*MOVABLE, torch.int64),
    when=[
        OneOf("dtype", (None, *MOVABLE), because="ttnn has no such dtype, or too narrow a one"),
        *PLACED,
    ],
    chip="NaN as an integer is the least or the largest int32",
    apart=elementwise,
)
def to_copy(tt, self, dtype, layout, device, pin_memory, non_blocking, memory_format):
    # The memory format is a matter of strides, which are metadata.
    if dtype is torch.bool:
        return tt.ne(self, number(tt, 0, self), dtype=tt.carrier(torch.bool))
    return self if dtype is None else cast(tt, self, tt.carrier(dtype))


def clone_samples():
    for dtype in (*MOVABLE, *UNSIGNED):
        yield Sample(some(dtype, 5, 7, low=0.0))
    yield Sample(rand(1, 3, 4, 5), memory_format=torch.channels_last)
    yield Sample(rand(1, 3, 4, 5).permute(0, 2, 3, 1), memory_format=torch.contiguous_format)
    yield Sample(rand(5, 7).double())


def clone_in_room(tt, room, self, memory_format):
    return self


@lower(
    aten.clone.default,
    samples=clone_samples,
    takes=(*MOVABLE, *UNSIGNED),
    in_room=InRoom(clone_in_room),
    apart=elementwise,
)
def clone(tt, self, memory_format):
    # Device tensors are never written to, only replaced, so that two tensors may hold one.
    return self


@lower(
    aten.lift_fresh_copy.default,
    samples=lambda: [Sample(rand(5, 7)), Sample(rand(5, 7).double())],
    takes=(*MOVABLE, *UNSIGNED),
)
def lift_fresh_copy(tt, self):
    return self


def _got_no_bool(call: Call) -> str | None:
    source = call["src"] if "src" in call.arguments else call["value"]
    return dtype_name(source.dtype) if call["self"].dtype is torch.bool is not source.dtype else None


FROM_BOOL = Check(
    "bool is overwritten by bool",
    _got_no_bool,
    because="both are carried in bfloat16, where other values are not 0 or 1",
)


def overwritten():
    for source in MOVABLE:
        for target in MOVABLE:
            low = 0.0 if torch.uint8 in (source, target) else -9.0
            yield Sample(some(target, 5, 7), some(source, 7, low=low))
    yield Sample(rand(2, 3, 40), rand())
    yield Sample(rand(2, 1, 2, 1, 3, 5), rand(2, 1, 1, 5), True)
    yield Sample(rand(5, 7), rand(5, 7).double())


@lower(aten.copy.default, samples=overwritten, takes=MOVABLE, when=[FROM_BOOL])
def copy(tt, self, src, non_blocking):
    return spread(tt, cast(tt, src, self.dtype), self.shape)


def spread(tt: Any, value: Any, shape: Any) -> Any:
    """The value broadcast to a shape."""
    if tuple(value.shape) == tuple(shape):
        return value
    if value.dtype == tt.uint8:  # which ttnn does not repeat
        return tt.typecast(spread(tt, tt.typecast(value, tt.int32), shape), tt.uint8)
    return tt.expand(value, tuple(shape))


def filled_by_tensor():
    for dtype in MOVABLE:
        yield Sample(some(dtype, 5, 7, low=0.0), some(dtype, low=0.0))
    yield Sample(rand(2, 3, 40), some(torch.int32))
    yield Sample(bools(5, 7), rand())
    yield Sample(rand(5, 7), torch.tensor(2))


@lower(aten.fill.Tensor, samples=filled_by_tensor, takes=MOVABLE, when=[FROM_BOOL])
def fill_tensor(tt, self, value):
    return spread(tt, cast(tt, value, self.dtype), self.shape)


def filled_by_number():
    for dtype in MOVABLE:
        yield Sample(some(dtype, 5, 7, low=0.0), 1)
        yield Sample(some(dtype, 2, 3, 40, low=0.0), False)
    yield Sample(rand(5, 7), -0.3)
    yield Sample(rand(dtype=BF16), float("inf"))
    yield Sample(bools(5, 7), 2)
    yield Sample(rand(5, 7).double(), 1)


@lower(aten.fill.Scalar, samples=filled_by_number, takes=MOVABLE, when=[FITS], number=itemgetter("value"))
def fill_number(tt, self, value):
    return tt.full_like(self, number(tt, value, self))


def any_tensor():
    for dtype in (*MOVABLE, torch.float64):
        yield Sample(some(dtype, 5, 7, low=0.0))
    yield Sample(rand(2, 1, 2, 1, 3, 5))


@lower(aten.zero.default, samples=any_tensor, takes=MOVABLE, number=lambda _: 0)
def zero(tt, self):
    return tt.zeros_like(self)
