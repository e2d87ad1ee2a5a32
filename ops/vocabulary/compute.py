"""How ttnn computes: settings for accurate results, several steps in one call, and lowerings that are one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def accurate(tt: Any) -> Any:
    """The kernel settings that accumulate in float32 and leave out no bits of the factors that the chip can keep.

    ttnn's own defaults round sums of bfloat16 to bfloat16. Wormhole's matrix engine has a fault that HiFi4 with
    float32 accumulation meets (outputs off by powers of two, tt-metal issue 38306); ttnn asks for HiFi3 there.
    """
    return tt.once(_accurate)


def _accurate(tt: Any) -> Any:
    blackhole = tt.device is not None and "BLACKHOLE" in str(tt.device.arch())
    return tt.WormholeComputeKernelConfig(  # of both architectures: Blackhole has no type of its own
        math_fidelity=tt.MathFidelity.HiFi4 if blackhole else tt.MathFidelity.HiFi3,
        math_approx_mode=False,
        fp32_dest_acc_en=True,
        packer_l1_acc=True,
    )


# What is said of functions whose kernels take the sign bit of a NaN for that of a number.
NAN_IS_A_LIMIT = "NaN becomes one of the limits, by its sign"
NAN_IS_LOST = "NaN beside a number is lost: by maxima if its sign bit is set, by minima if not"
# Of what stands on the matrix unit, which knows neither.
NAN_IS_A_NUMBER = 'NaN and infinities count as numbers of some 1e38, unless float32="exact"'
DENORMALS_ARE_ZERO = "numbers below 1.2e-38 count as 0"


def of_sigmoid(tt: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)). In float32, ttnn's sigmoid gives 0 for NaN; bfloat16 has none on a chip."""
    return tt.sigmoid(x) if x.dtype != tt.float32 else _1_over(tt, _1_and_exp_of_minus(tt, x))


def of_reciprocal(tt: Any, x: Any) -> Any:
    """1 / x. In float32, ttnn's reciprocal gives 0 for NaN; bfloat16 has none on a chip."""
    return tt.reciprocal(x) if x.dtype != tt.float32 else _1_over(tt, x)


def _1_over(tt: Any, x: Any) -> Any:
    return tt.divide(1.0 if len(x.shape) else tt.full_like(x, 1.0), x)  # ttnn divides no number by a rank of 0


def chain(*steps: str | tuple[str, float]) -> Callable[[Any, Any], Any]:
    """A function of `tt` and a floating-point value that applies ttnn's unary operations in turn, in one call.

    Each is the name of a `ttnn.UnaryOpType`, or that and its number.
    """

    def operations(tt: Any) -> list[Any]:
        named = [(step, ()) if isinstance(step, str) else (step[0], step[1:]) for step in steps]
        return [tt.UnaryWithParam(getattr(tt.UnaryOpType, name), *numbers) for name, numbers in named]

    return lambda tt, x: tt.unary_chain(x, tt.once(operations))


_1_and_exp_of_minus = chain("NEG", ("EXP", 0.0), ("ADD_UNARY_SFPU", 1.0))


def direct(name: str) -> Callable[[Any, Any], Any]:
    """The lowering of an op of one tensor, `self`, to `ttnn.<name>`, which means the same."""

    def lowering(tt: Any, self: Any) -> Any:
        return getattr(tt, name)(self)

    lowering.__name__ = name
    return lowering


def direct_of_two(name: str) -> Callable[[Any, Any, Any], Any]:
    """The lowering of an op of two tensors, `self` and `other`, to `ttnn.<name>`, which means the same."""

    def lowering(tt: Any, self: Any, other: Any) -> Any:
        return getattr(tt, name)(self, other)

    lowering.__name__ = name
    return lowering
