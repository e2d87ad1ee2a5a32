"""Matrix products of large float32 factors, split into parts that the matrix unit multiplies and sums without rounding.

Each row of the first factor is split into parts of 7 bits, because the unit takes 7 bits of a first operand at once.
Each column of the second factor is split into parts of 5 bits. All parts lie on grids of powers of two. A product of
two parts has 12 bits, and all products along a row lie on one grid, so the unit rounds none. The parts are
concatenated along K, and one call sums the products of all pairs that matter.

The error is relative to the largest element of a row or column: much smaller elements keep fewer bits. So only pairs
below 2^-25 of the largest are left out. With a limit of 2^-20 (9 pairs) the error was 9e-7 of
abs(a) @ abs(b) for normal numbers, but 9e-5 for heavy-tailed ones. Another pair makes K longer, and adds no call.
Before the split, each row of the second factor is scaled to one power of two, and the first factor's columns by its
inverse, so that features of very different sizes do not hide each other.
"""

from __future__ import annotations

from typing import Any

from .cost import in_tiles, require_room, tiles

Value = Any

_FIRST_BITS, _SECOND_BITS = 7, 5
_FIRST_PARTS, _SECOND_PARTS = 4, 5
_LEAST = 24  # pairs of parts are left out if their product is below 2 ** -this of the largest

# On a grid of 5 bits, 31.5 / 16 times a power of two already rounds up to 32 / 16. So from 2 / 1.016 on, the next power
# of two is used.
_ROUNDS_UP = 1.016

_EXPONENT = 0x7F800000  # the bits of a float32's exponent
_TWICE_THE_BIAS = 0x7F000000  # minus the bits of a power of two, this gives the bits of its reciprocal

# The smallest products come first, because the sum is in float32.
PAIRS = sorted(
    ((i, j) for i in range(_FIRST_PARTS) for j in range(_SECOND_PARTS) if _FIRST_BITS * i + _SECOND_BITS * j <= _LEAST),
    key=lambda pair: -(_FIRST_BITS * pair[0] + _SECOND_BITS * pair[1]),
)


def sliced_product(tt: Any, a: Value, b: Value, turned: bool) -> Value:
    """float32 [batch, rows, inner] @ [batch, inner, columns], or a transposed [batch, columns, inner]."""
    inner = a.shape[2]
    along = in_tiles(inner)
    rows, columns = a.shape[1], b.shape[1 if turned else 2]
    require_room(
        len(PAIRS) * (tiles([a.shape[0], rows, along]) + tiles([b.shape[0], columns, along]))
        + tiles([max(a.shape[0], b.shape[0]), rows, columns])
    )
    of_inner = 2 if turned else 1

    def prepare() -> list[Value]:
        padded = _padded(tt, b, of_inner, along)
        powers = _powers(tt, padded, 3 - of_inner)
        padded = tt.multiply(padded, _reciprocals(tt, powers))
        parts = _parts(tt, padded, of_inner, _SECOND_BITS, _SECOND_PARTS)
        if not turned:
            powers = tt.reshape(powers, [powers.shape[0], 1, along])
        return [powers, *parts]

    nbytes = 4 * _SECOND_PARTS * tiles([b.shape[0], columns, along])
    powers, *parts = tt.split(b, ("parts", turned), nbytes, prepare)
    seconds = tt.concat([parts[j] for _, j in PAIRS], of_inner)
    a = tt.multiply(_padded(tt, a, 2, along), powers)
    parts = _parts(tt, a, 2, _FIRST_BITS, _FIRST_PARTS)
    firsts = tt.concat([parts[i] for i, _ in PAIRS], 2)
    return tt.plainly("matmul")(firsts, seconds, transpose_b=turned, compute_kernel_config=tt.once(low_fidelity))


def low_fidelity(tt: Any) -> Any:
    """The kernel settings for one pass of the matrix unit, which uses only the high bits of its operands."""
    return tt.WormholeComputeKernelConfig(
        math_fidelity=tt.MathFidelity.LoFi, math_approx_mode=False, fp32_dest_acc_en=True, packer_l1_acc=True
    )


def _padded(tt: Any, x: Value, dim: int, size: int) -> Value:
    """`x` padded with zeros, so that no group of eight mixes two parts."""
    missing = size - x.shape[dim]
    return tt.pad(x, [(0, missing if d == dim else 0) for d in range(3)], 0) if missing else x


def _powers(tt: Any, x: Value, dim: int) -> Value:
    """The power of two below the largest along a dimension, or above it if the first part would round up to that."""
    largest = tt.max(tt.abs(x), dim=dim, keepdim=True)
    bits = tt.bitcast(tt.multiply(largest, _ROUNDS_UP), tt.int32)
    return tt.bitcast(tt.bitwise_and(bits, _EXPONENT), tt.float32)


def _reciprocals(tt: Any, powers: Value) -> Value:
    """The reciprocals of powers of two. For 0 it is some finite number."""
    return tt.bitcast(tt.rsub(tt.bitcast(powers, tt.int32), _TWICE_THE_BIAS), tt.float32)


def _parts(tt: Any, x: Value, dim: int, bits: int, count: int) -> list[Value]:
    """`x` split into parts of so many bits, whose sum is `x`; the last part is the rest.

    The first grid follows from the largest element along `dim`. Each next grid is finer by that many bits."""
    powers = _powers(tt, x, dim)
    parts = []
    for n in range(1, count):
        # Adding and then subtracting this number rounds to its last bit.
        shift = tt.multiply(powers, 1.5 * 2.0 ** (24 - n * bits))
        part = tt.subtract(tt.add(x, shift), shift)
        x = tt.subtract(x, part)
        parts.append(part)
    return [*parts, x]
