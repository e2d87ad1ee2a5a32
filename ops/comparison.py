"""Comparisons, and the logic of their results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..conditions import FLOATS, MOVABLE
from ..registry import lower
from ..samples import Sample, bools, ints, rand
from ..specs import together
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    FITS,
    by_number,
    element,
    filled,
    first_strides,
    int32,
    operand,
    two_tensors,
)

aten = torch.ops.aten

PAIR = ("self", "other")
COMPARISONS = ("eq", "ge", "gt", "le", "lt", "ne")
LOGICAL = ("logical_and", "logical_or", "logical_xor")
BITWISE = ("bitwise_and", "bitwise_or", "bitwise_xor")

TRUTH = (*FLOATS, torch.int32, torch.bool)
BITS = (torch.int32, torch.bool)


def into_bool(name: str) -> Callable[[Any, Any, Any], Any]:
    """The lowering to `ttnn.<name>`, whose 0 and 1 come in the dtype that carries bool."""

    def truth(tt, self, other):
        return getattr(tt, name)(self, element(tt, other, self), dtype=tt.carrier(torch.bool))

    truth.__name__ = name
    return truth


def bitwise(name: str) -> Callable[[Any, Any, Any], Any]:
    """The lowering of int32 to `ttnn.bitwise_<name>`, and of bool to `ttnn.logical_<name>`."""

    def bits(tt, self, other):
        if self.dtype == tt.int32:
            return getattr(tt, name)(self, operand(tt, other, self))
        return getattr(tt, name.replace("bitwise", "logical"))(self, filled(tt, other, self))

    bits.__name__ = name
    return bits


def compared():
    yield from two_tensors(integers=True)()
    yield Sample(rand(5, 7).round(), rand(5, 7).round())
    yield Sample(torch.tensor([float("nan"), 1.0, -float("inf")]), torch.tensor([float("nan"), 1.0, 0.0]))
    yield Sample(ints(5, 7, dtype=torch.uint8), ints(7, dtype=torch.uint8))
    yield Sample(ints(5, 7, dtype=torch.uint8), int32(7))
    yield Sample(bools(5, 7), bools(7))
    yield Sample(bools(5, 7), rand(7))


def compared_to_numbers():
    yield from by_number(0.5, 0, 1)()
    yield Sample(ints(5, 7, dtype=torch.uint8), 3)
    yield Sample(ints(5, 7, dtype=torch.uint8), -1)
    yield Sample(bools(5, 7), True)
    yield Sample(rand(5, 7).round(), 1)


def logical_samples():
    yield from two_tensors(integers=True)()
    yield Sample(rand(5, 7).round(), rand(5, 7).round())
    yield Sample(rand(5, 7, dtype=BF16).round(), int32(7, low=-1))
    yield Sample(bools(5, 7), bools(7))
    yield Sample(bools(5, 7), rand(7).round())


def bit_samples():
    yield Sample(bools(5, 7), bools(7))
    yield Sample(int32(5, 7), int32(5, 7))
    yield Sample(int32(33, 1), bools(40))
    yield Sample(int32(), int32(2, 1, 2, 1, 3, 5))
    yield Sample(ints(5, 7), ints(5, 7))


def bits_and_numbers():
    yield Sample(bools(5, 7), True)
    yield Sample(int32(5, 7), 6)
    yield Sample(int32(5, 7), -3)
    yield Sample(int32(5, 7), 2**40)
    yield Sample(ints(5, 7), 6)


for name in COMPARISONS:
    packet, lowering = getattr(aten, name), into_bool(name)
    given: dict[str, Any] = {"takes": together(PAIR, MOVABLE), "chip": DENORMALS_ARE_ZERO}
    lower(packet.Tensor, samples=compared, **given)(lowering)
    lower(packet.Scalar, samples=compared_to_numbers, when=[FITS], **given)(lowering)

for name in LOGICAL:
    # Bringing the operands to one dtype does not change which elements are 0.
    lower(
        getattr(aten, name).default,
        samples=logical_samples,
        takes=together(PAIR, TRUTH),
        outputs=first_strides,
    )(into_bool(name))

for name in BITWISE:
    packet, lowering = getattr(aten, name), bitwise(name)
    lower(packet.Tensor, samples=bit_samples, takes=together(PAIR, BITS))(lowering)
    lower(packet.Scalar, samples=bits_and_numbers, takes=together(PAIR, BITS), when=[FITS])(lowering)
