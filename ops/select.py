"""Elements chosen from two tensors, or kept within limits."""

from __future__ import annotations

from typing import Any

import torch

from ..conditions import BOOL, FLOATS, MOVABLE, NUMBERS
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..specs import Takes, together
from .vocabulary import BF16, FITS, NAN_IS_A_LIMIT, NAN_IS_LOST, cast, int32, number

aten = torch.ops.aten

NAN, INF = float("nan"), float("inf")


def where_samples():
    for dtype in FLOATS:
        yield Sample(bools(5, 7), rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype))
        yield Sample(bools(2, 1, 3), rand(4, 1, dtype=dtype), rand(dtype=dtype))
        yield Sample(bools(33, 40), rand(40, dtype=dtype), torch.tensor(-INF, dtype=dtype))
    yield Sample(bools(), rand(), rand())
    yield Sample(bools(5, 7), rand(5, 7, dtype=BF16), rand(5, 7))
    yield Sample(bools(5, 7), rand(5, 7), torch.tensor(0.0, dtype=torch.float64))
    yield Sample(bools(2, 1, 2, 1, 3, 5), rand(3, 5), rand(2, 4, 2, 1, 3, 1))
    yield Sample(bools(5, 7), int32(5, 7), int32(7))
    yield Sample(bools(5, 7), int32(5, 7), rand(7))
    yield Sample(bools(5, 7), ints(5, 7, dtype=torch.uint8), ints(5, 7, dtype=torch.uint8))
    yield Sample(bools(5, 7), bools(5, 7), bools(7))
    yield Sample(bools(5, 7), torch.full((5, 7), NAN), rand(5, 7))
    yield Sample(bools(5, 7), rand(5, 7).double(), rand(5, 7))
    yield Sample(ints(5, 7, high=2, dtype=torch.uint8), rand(5, 7), rand(5, 7))


@lower(
    aten.where.self,
    samples=where_samples,
    takes={"condition": BOOL, **together(("self", "other"), MOVABLE)},
)
def where(tt, condition, self, other):
    return tt.where(condition, self, other)


CHOSEN: Takes = {"condition": BOOL, **together(("self", "other"), NUMBERS)}


def chosen_numbers():
    for value in (-INF, 0, 2.5):
        yield Sample(bools(5, 7), value, rand(5, 7))
        yield Sample(bools(3, 1), value, rand(2, 3, 40, dtype=BF16))
        yield Sample(bools(5, 7), value, int32(7))
    yield Sample(bools(), 1.0, rand())
    yield Sample(bools(5, 7), 2.5, rand(5, 7).double())
    yield Sample(bools(5, 7).to(torch.uint8), 2.5, rand(5, 7))


def numbers_last():
    for sample in chosen_numbers():
        condition, value, tensor = sample.args
        yield Sample(condition, tensor, value)


@lower(
    aten.where.ScalarSelf,
    samples=chosen_numbers,
    takes=CHOSEN,
)
def where_number(tt, condition, self, other):
    # Beside a number, ttnn takes a condition of the other tensor's dtype only.
    return tt.where(cast(tt, condition, other.dtype), number(tt, self, other), other)


@lower(
    aten.where.ScalarOther,
    samples=numbers_last,
    takes=CHOSEN,
)
def where_else_number(tt, condition, self, other):
    return tt.where(cast(tt, condition, self.dtype), self, number(tt, other, self))


def masked_by_number():
    for value in (-INF, 0, 2.5, torch.finfo(torch.bfloat16).min):
        yield Sample(rand(5, 7), bools(5, 7), value)
        yield Sample(rand(2, 3, 40, dtype=BF16), bools(3, 1), value)
    yield Sample(rand(2, 4, 5, 5), bools(2, 1, 1, 5), torch.finfo(torch.float32).min)
    yield Sample(rand(7), bools(5, 7), 1.0)
    yield Sample(int32(5, 7), bools(5, 7), -4)
    yield Sample(bools(5, 7), bools(5, 7), True)
    yield Sample(int32(5, 7), bools(5, 7), 2.5)
    yield Sample(rand(5, 7).double(), bools(5, 7), 2.5)
    yield Sample(rand(5, 7), bools(5, 7).to(torch.uint8), 2.5)


@lower(
    aten.masked_fill.Scalar,
    samples=masked_by_number,
    takes={"self": (*NUMBERS, torch.bool), "mask": BOOL},
    when=[FITS],
)
def masked_fill_number(tt, self, mask, value):
    return where_number(tt, mask, value, self)


def masked_by_tensor():
    yield Sample(rand(5, 7), bools(5, 7), rand())
    yield Sample(rand(2, 3, 40, dtype=BF16), bools(3, 1), torch.tensor(-INF))
    yield Sample(rand(5, 7), bools(5, 7), rand(dtype=BF16))
    yield Sample(rand(5, 7), bools(5, 7), torch.tensor(2))
    yield Sample(rand(5, 7), bools(5, 7).to(torch.uint8), rand())


@lower(
    aten.masked_fill.Tensor,
    samples=masked_by_tensor,
    takes={"self": FLOATS, "mask": BOOL, "value": FLOATS},
)
def masked_fill_tensor(tt, self, mask, value):
    return tt.where(mask, cast(tt, value, self.dtype), self)


def limits():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), -1.0, 0.5)
        yield Sample(rand(2, 3, 40, dtype=dtype), 0)
        yield Sample(rand(5, 7, dtype=dtype), None, 0.25)
        yield Sample(rand(5, 7, dtype=dtype), -1, 0.5)
        yield Sample(rand(5, 7, dtype=dtype), 1.0, -1.0)
    yield Sample(torch.tensor([NAN, INF, -INF, 0.0]), -1.0, 1.0)
    yield Sample(rand(), 0.0, INF)
    yield Sample(int32(5, 7), -2, 5)
    yield Sample(int32(5, 7), 0)
    yield Sample(int32(5, 7), 0.5, 3)
    yield Sample(int32(5, 7), 0, 2**40)
    yield Sample(rand(5, 7).double(), -1.0, 0.5)


def limited_by(*names: str) -> dict[str, Any]:
    """What a clamp takes: the tensor and these limits, promoted together."""
    return {"takes": together(("self", *names), NUMBERS)}


BY_NUMBERS: dict[str, Any] = {"when": [FITS], "chip": NAN_IS_A_LIMIT}


@lower(aten.clamp.default, samples=limits, **limited_by("min", "max"), **BY_NUMBERS)
def clamp(tt, self, min, max):
    within = {"min": min, "max": max}
    return tt.clamp(self, **{name: number(tt, limit, self) for name, limit in within.items() if limit is not None})


def lower_limits():
    for sample in limits():
        if sample.args[1] is not None:
            yield Sample(*sample.args[:2])
    yield Sample(int32(5, 7), 2**40)


@lower(aten.clamp_min.default, samples=lower_limits, **limited_by("min"), **BY_NUMBERS)
def clamp_min(tt, self, min):
    return clamp(tt, self, min, None)


@lower(aten.clamp_max.default, samples=lower_limits, **limited_by("max"), **BY_NUMBERS)
def clamp_max(tt, self, max):
    return clamp(tt, self, None, max)


def limiting_tensors():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype))
        yield Sample(rand(2, 3, 40, dtype=dtype), rand(40, dtype=dtype))
        yield Sample(rand(2, 3, 40, dtype=dtype), None, rand(3, 1, dtype=dtype))
    yield Sample(rand(5, 7), rand(5, 7, dtype=BF16), rand())
    yield Sample(int32(5, 7), int32(7))
    yield Sample(rand(5, 7).double(), rand(5, 7).double())


@lower(aten.clamp.Tensor, samples=limiting_tensors, **limited_by("min", "max"), chip=NAN_IS_LOST)
def clamp_tensor(tt, self, min, max):
    self = self if min is None else tt.maximum(self, min)
    return self if max is None else tt.minimum(self, max)


def one_limiting_tensor():
    for sample in limiting_tensors():
        if sample.args[1] is not None:
            yield Sample(*sample.args[:2])


@lower(aten.clamp_min.Tensor, samples=one_limiting_tensor, **limited_by("min"), chip=NAN_IS_LOST)
def clamp_min_tensor(tt, self, min):
    return tt.maximum(self, min)


@lower(aten.clamp_max.Tensor, samples=one_limiting_tensor, **limited_by("max"), chip=NAN_IS_LOST)
def clamp_max_tensor(tt, self, max):
    return tt.minimum(self, max)


def special_values():
    for dtype in FLOATS:
        for replaced in ((INF, 1.0, 2.0), (-INF, NAN, 0.0), (NAN, -INF, INF), (-0.0, -0.0, NAN)):
            yield Sample(torch.tensor([NAN, INF, -INF, 0.5, -0.0], dtype=dtype), *replaced)
        yield Sample(torch.tensor([NAN, INF, -INF, 0.5], dtype=dtype))
        yield Sample(torch.tensor([NAN, INF, -INF, 0.5], dtype=dtype), 2.0, 3.0, -4.0)
    yield Sample(rand(2, 3, 40))
    yield Sample(rand(5, 7).double())


@lower(aten.nan_to_num.default, samples=special_values, takes=FLOATS)
def nan_to_num(tt, self, nan, posinf, neginf):
    # Infinities become the dtype's largest and smallest numbers, to which ttnn's numbers are cut.
    largest = torch.finfo(torch.float32).max
    result = self
    for test, value in (
        (tt.isneginf, -largest if neginf is None else neginf),
        (tt.isposinf, largest if posinf is None else posinf),
        (tt.isnan, 0.0 if nan is None else nan),
    ):
        result = tt.where(test(self), number(tt, value, self), result)
    return result
