"""How lowerings compute: the chip's settings for accurate results, and the dtypes in between."""

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


def cast(tt: Any, value: Any, dtype: Any) -> Any:
    """The value in a ttnn dtype."""
    return value if value.dtype == dtype else tt.typecast(value, dtype)


def widen(tt: Any, value: Any) -> Any:
    """The value in float32, in which PyTorch computes what has more than one rounding in bfloat16."""
    return cast(tt, value, tt.float32)


def chain(*steps: str | tuple[str, float]) -> Callable[[Any, Any], Any]:
    """A function of `tt` and a floating-point value that applies ttnn's unary operations in turn, in one call.

    Each is the name of a `ttnn.UnaryOpType`, or that and its number.
    """

    def operations(tt: Any) -> list[Any]:
        named = [(step, ()) if isinstance(step, str) else (step[0], step[1:]) for step in steps]
        return [tt.UnaryWithParam(getattr(tt.UnaryOpType, name), *numbers) for name, numbers in named]

    return lambda tt, x: tt.unary_chain(x, tt.once(operations))
