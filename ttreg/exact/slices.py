"""Matrix products of large float32 factors, from parts of them that the matrix unit multiplies and adds up whole.

Each row of the first factor is the sum of parts on grids of its own, powers of two: of 7 bits each, which is what the
unit takes of a first operand at once; each column of the second one of parts of 5 bits. A product of two such parts has
12 bits, and those along a row all lie on one grid, so that none is rounded. The parts go along K beside each other, and
one call adds up the products of all pairs that matter.

How far off that is depends on the largest of a row and of a column: what is smaller by many powers of two has fewer
bits in the parts. So what is left out is 2^-25 of these; it was measured with 9 pairs (2^-20: 9e-7 of abs(a) @ abs(b)
of normal numbers, but 9e-5 of heavy-tailed ones), and each pair more is one more part along K, not a call.
And first each row of the second factor is brought to one power of two, which the first factor's column takes on, so
that features of very different sizes do not drown each other.
"""

from __future__ import annotations

from typing import Any

from .cost import in_tiles, require_room, tiles

Value = Any

_FIRST_BITS, _SECOND_BITS = 7, 5
_FIRST_PARTS, _SECOND_PARTS = 4, 5
_LEAST = 24  # pairs of parts whose product is smaller than 2 to the minus this of the largest are left out

# Over a power of two, 31.5 / 16 is the least that rounds to 32 / 16 on a grid of 5 bits: from 2 / 1.016 on, the next
# power counts.
_ROUNDS_UP = 1.016

_EXPONENT = 0x7F800000  # the bits of a float32's exponent
_TWICE_THE_BIAS = 0x7F000000  # less the bits of a power of two: those of its reciprocal

# The smallest products first, since the sum is one of float32.
PAIRS = sorted(
    ((i, j) for i in range(_FIRST_PARTS) for j in range(_SECOND_PARTS) if _FIRST_BITS * i + _SECOND_BITS * j <= _LEAST),
    key=lambda pair: -(_FIRST_BITS * pair[0] + _SECOND_BITS * pair[1]),
)


def sliced_product(tt: Any, a: Value, b: Value, turned: bool) -> Value:
    """float32 [batch, rows, inner] @ [batch, inner, columns], or [batch, columns, inner] if it is turned round."""
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
    """The kernel settings under which the matrix unit takes the high bits of its operands alone, in one pass."""
    return tt.WormholeComputeKernelConfig(
        math_fidelity=tt.MathFidelity.LoFi, math_approx_mode=False, fp32_dest_acc_en=True, packer_l1_acc=True
    )


def _padded(tt: Any, x: Value, dim: int, size: int) -> Value:
    """`x` with zeros behind, so that no group of eight has numbers of two parts in it."""
    missing = size - x.shape[dim]
    return tt.pad(x, [(0, missing if d == dim else 0) for d in range(3)], 0) if missing else x


def _powers(tt: Any, x: Value, dim: int) -> Value:
    """The power of two below the largest along a dimension, or that above it if a first part would round up to it."""
    largest = tt.max(tt.abs(x), dim=dim, keepdim=True)
    bits = tt.bitcast(tt.multiply(largest, _ROUNDS_UP), tt.int32)
    return tt.bitcast(tt.bitwise_and(bits, _EXPONENT), tt.float32)


def _reciprocals(tt: Any, powers: Value) -> Value:
    """The reciprocals of powers of two; of 0, a number."""
    return tt.bitcast(tt.rsub(tt.bitcast(powers, tt.int32), _TWICE_THE_BIAS), tt.float32)


def _parts(tt: Any, x: Value, dim: int, bits: int, count: int) -> list[Value]:
    """What adds up to `x`: parts of so many bits, the first on a grid of the power of two of the largest along `dim`,
    each other on one that much finer; the last one is the rest."""
    powers = _powers(tt, x, dim)
    parts = []
    for n in range(1, count):
        # Added and taken away again, it rounds to its own last bit.
        shift = tt.multiply(powers, 1.5 * 2.0 ** (24 - n * bits))
        part = tt.subtract(tt.add(x, shift), shift)
        x = tt.subtract(x, part)
        parts.append(part)
    return [*parts, x]
