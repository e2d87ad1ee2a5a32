"""Matrix products of float32 factors, without the matrix unit or with factors split into parts that it keeps exactly.

The unit sums products in groups of eight. It rounds each to a grid of 2^-10 of the group's largest. Small matrix
products are therefore multiplied and summed elementwise, in float32. slices.py has the larger ones.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from .cost import OTHER_BATCH, TooDear, in_tiles, require_room, tiles
from .slices import sliced_product

Value = Any

# How many products are held at once, tile padding included (larger sizes were not measured), and in how many steps.
MOST_AT_ONCE = 2**25
MOST_STEPS = 4


class Sizes(NamedTuple):
    """The sizes of a batched product: [rows, inner] times [inner, columns], or times a transposed [columns, inner]."""

    batch: int
    rows: int
    inner: int
    columns: int
    others: int  # the batch of the second factor, which may be 1


def product(tt: Any, a: Value, b: Value, transpose_a: bool, transpose_b: bool) -> Value:
    """`ttnn.matmul` of two float32 factors, within 1e-5 of abs(a) @ abs(b)."""
    first, second = list(a.shape), list(b.shape)
    vector, column = len(first) == 1, len(second) == 1
    if transpose_a and not vector:
        a = tt.transpose(a, -2, -1)
        first[-2:] = first[:-3:-1]
    transpose_b |= column  # a vector is a transposed matrix of one column
    first, second = [1] * vector + first, [1] * column + second
    rows, inner = first[-2:]
    columns = second[-2] if transpose_b else second[-1]
    batch, others = prod(first[:-2]), prod(second[:-2])
    outer = max(first[:-2], second[:-2], key=lambda sizes: (prod(sizes), len(sizes)))
    if others == 1:
        batch, rows = 1, batch * rows
    elif batch not in (1, others):
        raise TooDear(OTHER_BATCH.with_got(f"{first} and {second}"))
    made = _made(tt, a, b, Sizes(max(batch, others), rows, inner, columns, others), batch, transpose_b)
    return shaped(tt, made, [*outer, *([] if vector else first[-2:-1]), *([] if column else [columns])])


def _made(tt: Any, a: Value, b: Value, sizes: Sizes, batch: int, turned: bool) -> Value:
    _, rows, inner, columns, others = sizes
    if columns == 1:  # each row times the column, as a row
        return _added(tt, shaped(tt, a, [batch, rows, inner]), _weight(tt, b, [others, 1, inner]), -1)
    matrices = [others, columns, inner] if turned else [others, inner, columns]
    if rows == 1:
        by_place = shaped(tt, a, [batch, 1, inner] if turned else [batch, inner, 1])
        return _added(tt, by_place, _weight(tt, b, matrices), -1 if turned else -2)
    steps = _steps(sizes)
    if steps is None:
        return sliced_product(tt, shaped(tt, a, [batch, rows, inner]), _weight(tt, b, matrices), turned)
    by_row = shaped(tt, a, [batch, rows, 1, inner] if turned else [batch, rows, inner, 1])
    by_column = _weight(tt, b, [others, 1, *matrices[1:]])
    dim, at_once = steps
    parts = []
    for start in range(0, (sizes.batch, rows)[dim], at_once):
        firsts, seconds = (_part(tt, x, dim, start, at_once) for x in (by_row, by_column))
        parts.append(tt.sum(tt.multiply(firsts, seconds), dim=-1 if turned else -2))
    return parts[0] if len(parts) == 1 else tt.concat(parts, dim)


def _added(tt: Any, a: Value, b: Value, dim: int) -> Value:
    """The product where a factor has at most one row or column, so that nothing has to be repeated."""
    require_room(2 * max(tiles(list(a.shape)), tiles(list(b.shape))))
    return tt.sum(tt.multiply(a, b), dim=dim)


def _steps(sizes: Sizes) -> tuple[int, int] | None:
    """The dimension along which the product is split into steps, batch or rows, and the size of a step.

    None if there would be too many steps."""
    each = sizes.rows * in_tiles(sizes.inner) * in_tiles(sizes.columns)
    if sizes.batch == 1:
        dim, count, at_once = 1, sizes.rows, MOST_AT_ONCE // (each // sizes.rows)
        at_once = at_once // 32 * 32 if at_once >= 32 else at_once
    else:
        dim, count, at_once = 0, sizes.batch, MOST_AT_ONCE // each
    return (dim, at_once) if at_once and -(-count // at_once) <= MOST_STEPS else None


def _part(tt: Any, x: Value, dim: int, start: int, size: int) -> Value:
    """A part of a dimension, or all of it if this factor is broadcast along it."""
    shape = list(x.shape)
    if size >= shape[dim] or shape[dim] == 1:
        return x
    starts = [0] * len(shape)
    starts[dim], shape[dim] = start, min(start + size, shape[dim])
    return tt.slice(x, starts, shape)


def _weight(tt: Any, x: Value, shape: list[int]) -> Value:
    """The second factor in a shape. For a weight, the result is kept."""
    return x if list(x.shape) == shape else tt.prepared(x, ("shape", *shape), lambda: tt.reshape(x, shape))


def shaped(tt: Any, x: Value, shape: list[int]) -> Value:
    """`x` with another shape of as many elements."""
    return x if list(x.shape) == shape else tt.reshape(x, shape)
