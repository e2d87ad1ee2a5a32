"""sin, cos and tan. They subtract multiples of pi in four parts, which is too inaccurate for large arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .bfloat16 import polynomial
from .bits import powers_of_two
from .table import Values, kernel

Compute = Callable[[torch.Tensor, bool], torch.Tensor]

_ROUNDING = 1.5 * 2.0**23  # adding and then subtracting this number rounds to an integer
_PER_PI, _PER_HALF_PI = 0.31830987334251404, 0.6366197466850281
_PI = (-3.140625, -float.fromhex("0x1.fbp-11"), -float.fromhex("0x1.51p-21"), -float.fromhex("0x1.0b4612p-33"))
_HALF_PI = tuple(part / 2 for part in _PI)
_SINE = tuple(map(float.fromhex, ("-0x1.55554cp-3", "0x1.110edap-7", "-0x1.9f70fp-13", "0x1.5dc908p-19")))
_SINE_OF_BFLOAT16 = tuple(map(float.fromhex, ("-0x1.5554a4p-3", "0x1.10c2a2p-7", "-0x1.8b10a4p-13")))
_TANGENT_HIGH = ("0x1.620abcp-6", "0x1.4787dp-7", "0x1.2b404p-10", "0x1.fa9f82p-9")
_TANGENT = tuple(map(float.fromhex, ("0x1.555556p-2", "0x1.111072p-3", "0x1.ba5716p-5", *_TANGENT_HIGH)))
_TANGENT_OF_BFLOAT16 = tuple(map(float.fromhex, ("0x1.55953p-2", "0x1.02b98p-3", "0x1.4f1f4ep-4")))


def _fused(a: torch.Tensor, b: float | torch.Tensor, c: float | torch.Tensor) -> torch.Tensor:
    """`a * b + c` of float32 as the vector unit computes it.

    The product, and then both terms on the grid of the larger one, keep three bits more than float32. The last of
    these bits is set if any lower bit was.
    """
    b, c = (torch.as_tensor(value, dtype=torch.float32) for value in (b, c))
    plain = a.double() * b.double() + c.double()
    of_product = powers_of_two(a).double() * powers_of_two(b).double()
    grid = torch.maximum(of_product, powers_of_two(c).double()) * 2.0**-26
    product = _on_grid(_on_grid(a.double() * b.double(), of_product * 2.0**-26), grid)
    made = product + _on_grid(c.double(), grid)
    return torch.where(made.isfinite(), made, plain).float()


def _on_grid(values: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    steps = values / step
    kept = steps.trunc()
    kept = torch.where((kept != steps) & (kept % 2 == 0) & (kept != 0), kept + steps.sign(), kept)
    return torch.where(step == 0, 0.0, kept * step)


def _reduced(x: torch.Tensor, count: torch.Tensor, parts: tuple[float, ...]) -> torch.Tensor:
    for part in parts:
        x = _fused(count, part, x)
    return x


def _is_odd(count: torch.Tensor) -> torch.Tensor:
    return (count.view(torch.int32) & 1).bool()


def _sine(a: torch.Tensor, is_odd: torch.Tensor, narrow: bool) -> torch.Tensor:
    square = a * a
    a = torch.where(is_odd, -a, a)
    return _fused(polynomial(square, *(_SINE_OF_BFLOAT16 if narrow else _SINE)), a * square, a)


def _sin(x: torch.Tensor, narrow: bool) -> torch.Tensor:
    biased = _fused(x, _PER_PI, _ROUNDING)
    return _sine(_reduced(x, biased - _ROUNDING, _PI), _is_odd(biased), narrow)


def _cos(x: torch.Tensor, narrow: bool) -> torch.Tensor:
    biased = _fused(x, _PER_PI, 0.5) + _ROUNDING
    count = (biased - _ROUNDING) * 2 - 1
    return _sine(_reduced(x, count, _HALF_PI), _is_odd(biased), narrow)


def _tan(x: torch.Tensor, narrow: bool) -> torch.Tensor:
    biased = _fused(x, _PER_HALF_PI, _ROUNDING)
    a = _reduced(x, biased - _ROUNDING, _HALF_PI)
    square = a * a
    made = _fused(polynomial(square, *(_TANGENT_OF_BFLOAT16 if narrow else _TANGENT)) * square, a, a)
    return torch.where(_is_odd(biased), -made.reciprocal(), made)


for _name, _compute in (("sin", _sin), ("cos", _cos), ("tan", _tan)):

    def _make(golden: Values, compute: Compute = _compute) -> Values:
        def values(x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            return compute(x.float(), x.dtype is torch.bfloat16)

        return values

    kernel(_name)(_make)
