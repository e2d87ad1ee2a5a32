"""Matrix products with the rounding of the matrix unit, which truncates operands and sums in groups on a common grid.

The unit splits the first operand's mantissa into parts of 7 and 4 bits, and the second operand's into 5 and 5, each
with the leading 1. The fidelity says which parts are multiplied: LoFi only the high ones, and each higher fidelity one
pair more. Products are summed in groups of eight along K. Each is rounded to a grid of 2^-10 of the group's largest
exponent. Sums of groups are kept in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from ....meta import CPU
from .bits import cut, powers_of_two
from .elements import as_number

GROUP = 8
# Up to this many products of one call are rounded one by one, in some 0.4 s. In larger calls, only every n-th group is
# rounded, and its error stands for the error of its neighbours.
MOST_ROUNDED = 2**28
_AT_ONCE = 2**18  # elements that fit into a processor's cache

_HIGH = {"first": 6, "second": 4}  # explicit bits of mantissa
_ALL = {"first": 10, "second": 9}
_PHASES = {"LoFi": 1, "HiFi2": 2, "HiFi3": 3, "HiFi4": 4}


def phases(config: Any, of_float32: bool) -> int:
    """How many of the four products of parts ttnn's compute kernel config asks for."""
    if config is None:
        return 4 if of_float32 else 2
    return _PHASES[config.math_fidelity.name]


def product(a: torch.Tensor, b: torch.Tensor, phases: int) -> torch.Tensor:
    """float32 `a @ b` of any ranks that torch.matmul takes."""
    rows = a[None] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    if columns.ndim == 2:
        made = matrix_product(rows.flatten(0, -2), columns, phases).unflatten(0, rows.shape[:-1])
    else:
        batch = torch.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
        firsts, seconds = (m.expand(*batch, *m.shape[-2:]).flatten(0, -3) for m in (rows, columns))
        pairs = zip(firsts, seconds, strict=True)
        made = torch.stack([matrix_product(first, second, phases) for first, second in pairs]).unflatten(0, batch)
    made = made.squeeze(-2) if a.ndim == 1 else made
    return made.squeeze(-1) if b.ndim == 1 else made


def matrix_product(a: torch.Tensor, b: torch.Tensor, phases: int) -> torch.Tensor:
    """float32 [M, K] @ [K, N]."""
    a, by_row = _scaled(a, 1)
    b, by_column = _scaled(b, 0)
    a_high, b_high = cut(a, _HIGH["first"]), cut(b, _HIGH["second"])
    made = _rounded_sums(a_high, powers_of_two(a), b_high, powers_of_two(b))
    a_low, b_low = cut(a, _ALL["first"]) - a_high, cut(b, _ALL["second"]) - b_high
    # These roundings are 2^-5 and 2^-7 times the rounding above.
    if phases == 2:
        made += a_high @ b_low
    elif phases == 3:
        made += (a_high @ b_low).add_(a_low @ b_high)
    elif phases == 4:
        made += (a_high @ b_low).add_(a_low @ (b_high + b_low))
    return (made.double() * by_row * by_column).float()


def _scaled(values: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The values, divided by the power of two of the largest along `dim` so that float32 holds products; that power."""
    wide = as_number(values)
    largest = wide.abs().amax(dim, keepdim=True) if values.numel() else wide.new_ones(())
    power = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)
    return (wide / power).float(), power


def _rounded_sums(a: torch.Tensor, a_powers: torch.Tensor, b: torch.Tensor, b_powers: torch.Tensor) -> torch.Tensor:
    """`a @ b` of high parts, each product rounded to its group's grid."""
    rows, length = a.shape
    columns = b.shape[1]
    if not rows * columns * length:
        return a.new_zeros(rows, columns)
    if columns < min(rows, 16):  # so that the innermost dimension is a long one
        return _rounded_sums(b.T, b_powers.T, a.T, a_powers.T).T.contiguous()
    step = -(-rows * columns * length // MOST_ROUNDED)
    fill = -length % GROUP
    groups = (length + fill) // GROUP
    used = torch.arange(groups, dtype=torch.int64, device=CPU)[::step]

    def grouped(values: torch.Tensor, dim: int) -> torch.Tensor:
        around = (0, fill) if dim else (0, 0, 0, fill)
        return pad(values, around).unflatten(dim, (groups, GROUP)).index_select(dim, used).contiguous()

    firsts, first_powers = grouped(a, 1)[..., None], grouped(a_powers, 1)[..., None]
    seconds, second_powers = grouped(b, 0), grouped(b_powers, 0)
    # A half of the grid's step is rounded away from 0: a product has at most 12 bits, and 2^-13 of it moves no other.
    beyond = seconds * (1 + 2.0**-13)
    made = a.new_empty(rows, columns)
    at_once = max(1, _AT_ONCE // (len(used) * GROUP * columns))
    for row in range(0, rows, at_once):
        part = slice(row, row + at_once)
        # Added to this and taken from it again, a product is rounded to the grid.
        shift = (first_powers[part] * second_powers).amax(2, keepdim=True) * (1.5 * 2.0**13)
        rounded = (firsts[part] * beyond).add_(shift).sub_(shift)
        # The rounding error of the groups that stand for others; 0 if all products lie on the grid.
        made[part] = (rounded if step == 1 else rounded.sub_(firsts[part] * seconds)).sum((1, 2))
    return made if step == 1 else a @ b + made * step**0.5
