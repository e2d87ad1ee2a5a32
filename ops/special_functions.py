"""Special functions of one tensor: of the normal distribution, of entropies, Bessel's, and those beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ..call import Call
from ..conditions import FLOATS, AtLeast, AtMost, ProgramCheck
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._special import erfc_parts, erfinv_by
from .vocabulary import (
    BF16,
    DENORMALS_ARE_ZERO,
    bfloat16,
    chain,
    in_float32,
    number,
    of_reciprocal,
    one_tensor,
)

aten = torch.ops.aten

# Abramowitz and Stegun 9.8.1 to 9.8.4, to 2e-7: of (x / 3.75) ** 2 up to 3.75, and of 3.75 / x from there on.
TURN = 3.75
I0_NEAR = [0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0]
I0_FAR = [
    *(0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592, 0.39894228),
]
I1_NEAR = [0.00032411, 0.00301532, 0.02658733, 0.15084934, 0.51498869, 0.87890594, 0.5]
I1_FAR = [
    *(-0.00420059, 0.01787654, -0.02895312, 0.02282967, -0.01031555, 0.00163801, -0.00362018, -0.03988024, 0.39894228),
]

# erfinv(x) / x in sqrt(-log(1 - x * x)) less its middle, from sqrt(5) to 9.6, to 2e-6.
NDTRI_MIDDLE = 5.918034
NDTRI_TAIL = [
    *(-1.19633311e-08, 5.08736832e-08, 2.37466628e-07, -9.60762992e-07, -2.33071388e-06, 8.78694378e-06),
    *(2.74885599e-06, -6.96043607e-08, -6.64453554e-05, -0.000434484234, 1.00969075, 5.77715189),
]

_minus_log_of_4_times = chain(("MUL_UNARY_SFPU", 4.0), "LOG", "NEG")
_sqrt_less_middle = chain("SQRT", ("ADD_UNARY_SFPU", -NDTRI_MIDDLE))
_log1p_of_minus_half_exp = chain(("EXP", 0.0), ("MUL_UNARY_SFPU", -0.5), "LOG1P")
_twice_exp_of_square = chain("SQUARE", ("EXP", 0.0), ("MUL_UNARY_SFPU", 2.0))
_sine_of_pi_times = chain(("MUL_UNARY_SFPU", math.pi), "SIN", ("MUL_UNARY_SFPU", 1 / math.pi))
_squared_part = chain(("MUL_UNARY_SFPU", 1 / TURN), "SQUARE")


def entropy(tt, x):
    """-x * log(x): 0 of 0, and -inf of negative numbers."""
    made = tt.neg(tt.multiply(x, tt.log(x)))
    return tt.where(tt.ltz(x), -math.inf, tt.where(tt.eqz(x), 0.0, made))


def scaled_erfc(tt, x):
    """exp(x * x) * erfc(x)."""
    t, p = erfc_parts(tt, x)
    made = tt.multiply(t, tt.exp(p))
    return tt.where(tt.ltz(x), tt.subtract(_twice_exp_of_square(tt, x), made), made)


def log_normal_cdf(tt, x):
    """log(erfc(-x / sqrt(2)) / 2), with all digits where the distribution is near 0 or 1."""
    part = tt.multiply(x, math.sqrt(0.5))
    t, p = erfc_parts(tt, part)
    tail = tt.add(tt.log(t), tt.subtract(p, tt.square(part)))  # log(erfc(abs(part)))
    return tt.where(tt.ltz(x), tt.subtract(tail, math.log(2)), _log1p_of_minus_half_exp(tt, tail))


def normal_quantile(tt, x):
    """The number below which so much of the normal distribution lies: sqrt(2) * erfinv(2 * x - 1)."""
    w = _minus_log_of_4_times(tt, tt.multiply(x, tt.rsub(x, 1.0)))
    tail = tt.polyval(_sqrt_less_middle(tt, w), NDTRI_TAIL)
    twice = tt.subtract(tt.multiply(x, 2.0), 1.0)
    return tt.multiply(erfinv_by(tt, twice, w, tail), math.sqrt(2))


def sinc(tt, x):
    """sin(pi * x) / (pi * x)."""
    return tt.where(tt.eqz(x), 1.0, tt.divide(_sine_of_pi_times(tt, x), x))


def bessel(near: list[float], far: list[float], odd: bool, scaled: bool) -> Callable[[Any, Any], Any]:
    """The modified Bessel function of order 0, or of order 1 (`odd`); times exp(-abs(x)) if `scaled`."""

    def function(tt, x):
        size = tt.abs(x)
        below = tt.polyval(_squared_part(tt, tt.clamp(size, max=TURN)), near)
        below = tt.multiply(below, x) if odd else below
        above = tt.polyval(tt.multiply(of_reciprocal(tt, tt.clamp(size, min=TURN)), TURN), far)
        above = tt.multiply(above, tt.sign(x)) if odd else above
        root = tt.sqrt(size)
        if scaled:
            below, above = tt.multiply(below, tt.exp(tt.neg(size))), tt.divide(above, root)
        else:  # in this order, what is too large for float32 is so in PyTorch too
            above = tt.divide(tt.multiply(tt.exp(size), above), root)
        return tt.where(tt.le(size, TURN), below, above)

    return function


def angle(tt, x):
    """The angle of a real number: pi of negative ones."""
    return tt.where(tt.isnan(x), x, tt.multiply(tt.ltz(x), math.pi))


COMPOSED: dict[Any, tuple[Callable[[Any, Any], Any], tuple[float, float]]] = {
    aten.angle.default: (angle, (-2.0, 2.0)),
    aten.i0.default: (bessel(I0_NEAR, I0_FAR, odd=False, scaled=False), (-12.0, 12.0)),
    aten.sinc.default: (sinc, (-8.0, 8.0)),
    aten.special_entr.default: (entropy, (-0.5, 4.0)),
    aten.special_erfcx.default: (scaled_erfc, (-4.0, 40.0)),
    aten.special_i0e.default: (bessel(I0_NEAR, I0_FAR, odd=False, scaled=True), (-40.0, 40.0)),
    aten.special_i1.default: (bessel(I1_NEAR, I1_FAR, odd=True, scaled=False), (-12.0, 12.0)),
    aten.special_i1e.default: (bessel(I1_NEAR, I1_FAR, odd=True, scaled=True), (-40.0, 40.0)),
    aten.special_log_ndtr.default: (log_normal_cdf, (-40.0, 12.0)),
    aten.special_ndtri.default: (normal_quantile, (0.0, 1.0)),
}
ON_A_CHIP = {
    "sinc": "numbers from some hundred thousands on are off, from millions on wrong; below 1.2e-38 it is not 1",
    **dict.fromkeys(("special_entr", "special_log_ndtr", "special_ndtri"), DENORMALS_ARE_ZERO),
}


# What PyTorch has in float32 and float64 only.
NARROW = Tensor((torch.float32,), program_dtype=True, because="on CPU it is not implemented for bfloat16")
NOT_IN_BFLOAT16 = (aten.special_erfcx.default, aten.special_log_ndtr.default, aten.special_ndtri.default)


def between(low: float, high: float, narrow: bool):
    def samples():
        for sample in one_tensor(low, high)():
            if not narrow or sample.args[0].dtype is not BF16:
                yield sample
        for dtype in FLOATS[narrow:]:
            yield Sample(torch.linspace(low, high, 129).to(dtype))
            yield Sample(torch.tensor([math.nan, math.inf, -math.inf, -0.0, 0.0, -1.0, 1.0, 2.0], dtype=dtype))

    return samples


def composed(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The lowering to the function of the float32 values."""

    def special(tt, self):
        return in_float32(tt, lambda x: function(tt, x), self)

    return special


for op, (function, domain) in COMPOSED.items():
    chip = ON_A_CHIP.get(op._schema.name.removeprefix("aten::"), "")
    narrow = op in NOT_IN_BFLOAT16
    takes: Any = {"self": NARROW} if narrow else FLOATS
    lower(op, samples=between(*domain, narrow), takes=takes, chip=chip)(composed(function))


def shares():
    for dtype in FLOATS:
        for eps in (None, 0.125, 1e-6, -1.0, 0.75):
            yield Sample(rand(5, 7, dtype=dtype, low=0.0, high=1.0), eps)
        yield Sample(torch.tensor([0.0, 1.0, -0.5, 1.5, math.nan], dtype=dtype))
        yield Sample(torch.tensor([0.0, 1.0, -0.5, 1.5], dtype=dtype), 0.25)
    yield Sample(rand(2, 3, 40, low=0.0, high=1.0))
    yield Sample(rand(5, 7).double())


def rounded_limits(call: Call) -> str | None:
    """The limits that `eps` sets, where bfloat16 does not hold them."""
    eps = call["eps"]
    if call["self"].dtype is not torch.bfloat16 or eps is None or not eps >= 0:
        return None
    return None if all(limit == bfloat16(limit) for limit in (eps, 1 - eps)) else f"{eps} and {1 - eps}"


OF_WHOLE_LIMITS = ProgramCheck(
    "limits eps and 1 - eps that bfloat16 holds",
    rounded_limits,
    because="PyTorch rounds them to the tensor's dtype, and near 1 the first digit of the result depends on it",
)


@lower(
    aten.logit.default,
    samples=shares,
    takes=FLOATS,
    when=[OF_WHOLE_LIMITS],
    chip=f"{DENORMALS_ARE_ZERO}; of NaN with eps, it is a limit's",
)
def logit(tt, self, eps):
    def made(x):
        if eps is not None and eps >= 0:  # as PyTorch has it, where the limits have changed places too
            least, most = number(tt, eps, x), number(tt, 1 - eps, x)
            x = tt.where(tt.lt(x, least), least, tt.where(tt.gt(x, most), most, x))
        return tt.log(tt.divide(x, tt.rsub(x, 1.0)))

    return in_float32(tt, made, self)


# 10 ** 38 is the largest power of 10 in float32.
MOST_DECIMALS = 38


def with_decimals():
    for dtype in FLOATS:
        for decimals in (0, 1, 3, -1, -2):
            yield Sample(rand(5, 7, dtype=dtype, low=-300.0, high=300.0), decimals=decimals)
        yield Sample(torch.tensor([math.nan, math.inf, -0.0, 0.25, 0.35], dtype=dtype), decimals=1)
    yield Sample(rand(2, 3, 40), decimals=2)
    yield Sample(rand(5, 7).double(), decimals=2)
    yield Sample(rand(5, 7), decimals=39)
    yield Sample(rand(5, 7), decimals=-39)


@lower(
    aten.round.decimals,
    samples=with_decimals,
    takes=FLOATS,
    when=[AtMost("decimals", MOST_DECIMALS), AtLeast("decimals", -MOST_DECIMALS)],
)
def round_decimals(tt, self, decimals):
    if not decimals:
        return tt.round(self)
    power, (there, back) = 10.0 ** abs(decimals), (tt.multiply, tt.divide) if decimals > 0 else (tt.divide, tt.multiply)
    return in_float32(tt, lambda x: back(tt.round(there(x, power)), power), self)
