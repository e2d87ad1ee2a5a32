"""Special functions of float32 values, composed where ttnn's own are off on a chip in the second or third digit."""

from __future__ import annotations

import math

from .vocabulary import chain, of_reciprocal

# Numerical Recipes' erfc: t * exp(-x * x + ERFC(t)) with t = 1 / (1 + abs(x) / 2), to 1.2e-7 of the value.
ERFC = [
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196, 1.00002368),
    -1.26551223,
]

# Giles' erfinv: x times a polynomial in w = -log((1 - x) * (1 + x)), of w - 2.5 below 5 and of sqrt(w) - 3 above.
ERFINV_CENTRE = [
    *(2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164),
    *(0.246640727, 1.50140941),
]
ERFINV_TAIL = [
    *(-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047),
    *(1.00167406, 2.83297682),
]

# log_gamma(2 + d) / (d * (d + 1)) for d from -1 to 1, interpolated at Chebyshev's points, to 2e-8 of the value; the
# factors make it exact next to the zeros at 1 and 2.
LOG_GAMMA_NEAR_2 = [
    *(-3.87342548e-05, 7.81756509e-05, -5.24193291e-05, 0.00013063239, -0.000425571472, 0.000944296662),
    *(-0.00210206154, 0.0049915609, -0.0123849751, 0.0329656257, -0.100317273, 0.422784326),
]
STIRLING = [1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12]  # in 1 / x ** 2

log1p_exp_of_minus_abs = chain("ABS", "NEG", ("EXP", 0.0), "LOG1P")

normal_cdf = chain(("MUL_UNARY_SFPU", math.sqrt(0.5)), ("ERF", 0.0), ("MUL_UNARY_SFPU", 0.5), ("ADD_UNARY_SFPU", 0.5))
normal_density = chain(
    *("SQUARE", ("MUL_UNARY_SFPU", -0.5), ("EXP", 0.0)), ("MUL_UNARY_SFPU", 1 / math.sqrt(2 * math.pi))
)

_reciprocal_of_1_and_half = chain("ABS", ("MUL_UNARY_SFPU", 0.5), ("ADD_UNARY_SFPU", 1.0), "RECIP")
_minus_log = chain("LOG", "NEG")
_sqrt_less_3 = chain("SQRT", ("ADD_UNARY_SFPU", -3.0))
_sine_of_pi_times = chain(("MUL_UNARY_SFPU", math.pi), "SIN", "ABS", ("MUL_UNARY_SFPU", 1 / math.pi))
_log_less_1 = chain("LOG", ("ADD_UNARY_SFPU", -1.0))


def erfc_parts(tt, x):
    """t and p, by which erfc(abs(x)) is t * exp(p - x * x)."""
    t = _reciprocal_of_1_and_half(tt, x)
    return t, tt.polyval(t, ERFC)


def erfc(tt, x):
    """1 - erf(x), with all digits also where it is small."""
    t, p = erfc_parts(tt, x)
    made = tt.multiply(t, tt.exp(tt.subtract(p, tt.square(x))))
    return tt.where(tt.ltz(x), tt.rsub(made, 2.0), made)


def erfinv(tt, x):
    """The number whose erf is x."""
    w = _minus_log(tt, tt.multiply(tt.rsub(x, 1.0), tt.add(x, 1.0)))
    return erfinv_by(tt, x, w, tt.polyval(_sqrt_less_3(tt, w), ERFINV_TAIL))


def erfinv_by(tt, x, w, tail):
    """The number whose erf is x, of -log(1 - x * x), and what it is over x where that is above 5."""
    centre = tt.polyval(tt.subtract(w, 2.5), ERFINV_CENTRE)
    factor = tt.where(tt.lt(w, 5.0), centre, tail)
    return tt.multiply(tt.where(tt.isinf(w), w, factor), x)  # w is infinite at 1 and -1


def log_gamma(tt, x):
    """The logarithm of abs(gamma(x)).

    It is made of that of a number from 1 on: of x itself, of x + 1 below 1 (gamma(x) = gamma(x + 1) / x), and of 1 - x
    for negative numbers (gamma(x) * gamma(1 - x) = pi / sin(pi * x)).
    """
    size, is_below_1, is_negative = tt.abs(x), tt.lt(x, 1.0), tt.ltz(x)
    above_2 = tt.subtract(size, tt.rsub(is_below_1, 2.0))  # exact next to 1 and 2, where the result is near 0
    made = log_gamma_from_1(tt, tt.add(size, is_below_1), above_2)
    fraction = tt.subtract(x, tt.round(x))  # sin(pi * x) has no digits left for a large x
    correction = tt.log(tt.where(is_negative, _sine_of_pi_times(tt, fraction), x))
    # Added, since the product that is 0 at 1 is -0 there.
    both = tt.add(tt.where(is_negative, tt.neg(made), made), tt.where(is_below_1, tt.neg(correction), 0.0))
    return tt.where(tt.isinf(made), math.inf, both)


def log_gamma_from_1(tt, a, above_2):
    """The logarithm of gamma(a) for numbers from 1 on, of which a - 2 is given."""
    near_2 = tt.multiply(tt.multiply(above_2, tt.add(above_2, 1.0)), tt.polyval(above_2, LOG_GAMMA_NEAR_2))
    reciprocal = of_reciprocal(tt, a)
    series = tt.multiply(tt.polyval(tt.square(reciprocal), STIRLING), reciprocal)
    main = tt.multiply(tt.subtract(a, 0.5), _log_less_1(tt, a))  # less 0.5 of Stirling's formula
    far = tt.add(tt.add(main, series), 0.5 * math.log(2 * math.pi) - 0.5)
    return tt.where(tt.lt(a, 3.0), near_2, far)
