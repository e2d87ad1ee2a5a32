"""Makes the device value of a view straight from the value of its whole storage, in few and small ttnn calls.

The metadata of the last view in a chain says where its elements lie, so the views in between need no values. PyTorch's
einsum makes many such views that end in dimensions of 1, and each element would take a tile of 32 × 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import torch

from ..devices.base import Value
from ..meta import Meta, intern
from .elements import Dim, Part, placed
from .padding import TILE, WASTEFUL, tiled, too_large

# ttnn's permute, reshape, slice and repeat are tested up to this rank.
_MAX_RANK = 8

APART = "transformer.split_query_key_value_and_split_heads"
FLOATS = (torch.float32, torch.bfloat16)

# The longest row, in elements of any dtype, that ttnn's slice and repeat can keep in L1.
_ROW = 131072


@dataclass(frozen=True)
class Step:
    """One ttnn call on the value, and the shape of its result."""

    call: str
    arguments: tuple[list[int], ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Route:
    """The ttnn calls that lead from one value to another, and the bytes of the largest value that they make.

    `views` are what the last call gives, if it gives more than one value; see `heads`.
    """

    steps: tuple[Step, ...]
    largest: int
    views: tuple[Meta, ...] = ()

    @property
    def calls(self) -> int:
        """How many ttnn calls it takes."""
        return len(self.steps)


@lru_cache(maxsize=1 << 14)
def route(
    source: Meta, target: Meta, shape: tuple[int, ...] | None = None, held: tuple[int, ...] | None = None
) -> Route | None:
    """The route from the value of `source`, which covers a storage, to the value of `target`; None if there is none.

    With `shape`, the route ends with the elements of `target`, in the same order, in that shape. With `held`, it begins
    with the elements of `source` in that shape.
    """
    if source.dtype != target.dtype or not target.numel or not source.covers(source.nbytes):
        return None
    steps: list[Step] = []
    if held is not None:
        _reshape(steps, held, source.shape)
    found = placed(source, target)
    if found is None:  # its dimensions do not split along those of the source
        order = sorted(range(source.ndim), key=lambda dim: (-source.stride[dim], dim))
        if order != sorted(order):
            _permute(steps, source.shape, order)
        found = placed(intern(source.dtype, (source.numel,), (1,)), target)
    if found is None:
        return None
    dims, ordered = found
    lie = steps[-1].shape if steps else source.shape
    if any(dim.count != dim.size for dim in dims):
        if _too_wide(dims):
            return None
        _reshape(steps, lie, tuple(dim.size for dim in dims))
        steps.append(_slice(dims))
        lie = steps[-1].shape
    unexpanded = tuple(1 if stride == 0 else size for size, stride in zip(target.shape, target.stride, strict=True))
    wanted = shape if shape is not None and unexpanded == target.shape else unexpanded
    steps.extend(_arranged(dims, ordered, lie, wanted, target.dtype))
    if unexpanded != target.shape:
        if unexpanded[-1] > _ROW:
            return None
        repeats = [size // have for size, have in zip(target.shape, unexpanded, strict=True)]
        steps.append(Step("repeat", (repeats,), target.shape))
        if shape is not None:
            _reshape(steps, target.shape, shape)
    if len(steps) > 1 and steps[0].call == steps[1].call == "reshape":
        del steps[0]
    if source.dtype in FLOATS:
        _put_heads_together(steps)
        _take_heads_apart(steps, held if held is not None else source.shape)
    if any(len(step.shape) > _MAX_RANK for step in steps):
        return None
    largest = max((tiled(step.shape, target.dtype) for step in steps), default=0)
    return None if too_large(largest, source.nbytes, "") else Route(tuple(steps), largest)


def relayout(tt: Any, value: Value, way: Route) -> Value:
    """The value at the end of the route; a list if it ends in several."""
    narrow = value.dtype in (tt.uint8, tt.uint16) and bool(way.steps)  # ttnn neither reshapes nor tilizes these
    dtype = value.dtype
    if narrow:
        value = tt.typecast(value, tt.int32)
    for step in way.steps:
        value = _heads(tt, value, step, bool(way.views)) if step.call == APART else _made(tt, value, step)
    return tt.typecast(value, dtype) if narrow else value


def _made(tt: Any, value: Value, step: Step) -> Value:
    return getattr(tt, step.call)(value, *step.arguments)


def _heads(tt: Any, value: Value, step: Step, all_three: bool) -> Value:
    """All heads of a value, as those of queries. ttnn wants keys and values too, for which half of the heads do.

    Or a list of the heads of queries, of keys and of values.
    """
    heads, of_each = step.arguments[0]
    split = tt.transformer.split_query_key_value_and_split_heads
    made = split(*(value,) * (1 if all_three else 2), num_heads=heads, num_kv_heads=of_each, transpose_key=False)
    return list(made) if all_three else made[0]


def _put_heads_together(steps: list[Step]) -> None:
    """One call that puts the heads of attention side by side, in place of a permutation and a reshape behind it.

    The permuted value would have its heads as the rows of tiles: twelve of them padded to 32.
    """
    for place, (first, second) in enumerate(pairwise(steps)):
        if (first.call, *first.arguments, second.call) != ("permute", [0, 2, 1, 3], "reshape"):
            continue
        batch, length, heads, width = first.shape
        if heads == 1 or width % TILE or second.shape[-1] != heads * width:
            continue
        together = (batch, length, heads * width)
        made = [Step("transformer.concatenate_heads", (), together)]
        _reshape(made, together, second.shape)
        steps[place : place + 2] = made
        return


def _take_heads_apart(steps: list[Step], start: Sequence[int]) -> None:
    """The reverse of `_put_heads_together`, in place of a reshape and a permutation behind it."""
    shapes = [start, *(step.shape for step in steps)]
    for place, (have, first, second) in enumerate(zip(shapes, steps, steps[1:], strict=False)):
        if (first.call, second.call, *second.arguments) != ("reshape", "permute", [0, 2, 1, 3]):
            continue
        batch, length, heads, width = first.shape
        if tuple(have) == (batch, length, heads * width) and heads % 2 == 0 and width % TILE == 0:
            steps[place : place + 2] = [Step(APART, ([heads, heads // 2],), second.shape)]
            return


def _reshape(steps: list[Step], have: Sequence[int], wanted: Sequence[int]) -> None:
    if tuple(have) != tuple(wanted):
        steps.append(Step("reshape", (list(wanted),), tuple(wanted)))


def _too_wide(dims: Sequence[Dim]) -> bool:
    last = dims[-1]
    return last.size > _ROW and (last.count != last.size or any(dim.step != 1 for dim in dims))


def _slice(dims: Sequence[Dim]) -> Step:
    starts, steps = [dim.start for dim in dims], [dim.step for dim in dims]
    stops = [dim.start + (dim.count - 1) * dim.step + 1 for dim in dims]
    return Step("slice", (starts, stops, steps), tuple(dim.count for dim in dims))


def _arranged(
    dims: Sequence[Dim], ordered: Sequence[Part], have: tuple[int, ...], wanted: tuple[int, ...], dtype: torch.dtype
) -> list[Step]:
    """The calls that bring the parts from the shape `have` into the wanted order and shape."""
    lying = [part for dim in dims for part in dim.parts]
    order = [lying.index(part) for part in ordered]
    if order == sorted(order):
        steps: list[Step] = []
        _reshape(steps, have, wanted)
        return steps
    ways = [_by_merged(lying, order, have, wanted), _by_dims(dims, ordered, have, wanted)]
    ways.append(_by_wanted(lying, ordered, have, wanted))
    smallest = prod(have) * dtype.itemsize

    def cost(way: list[Step]) -> tuple[bool, int, int]:
        made = [tiled(step.shape, dtype) for step in way]
        return max(made) > WASTEFUL * smallest, len(way), sum(made)

    return min((way for way in ways if way is not None), key=cost)


def _by_merged(lying: list[Part], order: list[int], have: tuple[int, ...], wanted: tuple[int, ...]) -> list[Step]:
    """Reshape so that neighbours that stay together are one dimension, then permute, then reshape."""
    runs: list[list[int]] = []
    for place in order:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    by_place = sorted(runs)
    sizes = [prod(lying[place].size for place in run) for run in by_place]
    steps: list[Step] = []
    _reshape(steps, have, sizes)
    _permute(steps, sizes, [by_place.index(run) for run in runs])
    _reshape(steps, steps[-1].shape, wanted)
    return steps


def _by_dims(
    dims: Sequence[Dim], ordered: Sequence[Part], have: tuple[int, ...], wanted: tuple[int, ...]
) -> list[Step] | None:
    """Permute the dimensions as they are, if none is split, and put dimensions of 1 where they are wanted."""
    order: list[int] = []
    place = 0
    while place < len(ordered):
        dim = next(d for d, dim in enumerate(dims) if ordered[place] in dim.parts)
        if tuple(ordered[place : place + len(dims[dim].parts)]) != tuple(dims[dim].parts):
            return None
        order.append(dim)
        place += len(dims[dim].parts)
    ones = [d for d in range(len(dims)) if d not in order]
    counts = [dim.count for dim in dims]
    steps: list[Step] = []
    _reshape(steps, have, counts)
    _permute(steps, counts, _with_ones(order, ones, counts, wanted))
    _reshape(steps, steps[-1].shape, wanted)
    return steps


def _with_ones(order: list[int], ones: list[int], have: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The order with dimensions of 1 where they are wanted; if the sizes do not match, they all go in front."""
    placed_dims, rest, left = [], list(order), list(ones)
    for size in wanted:
        from_ = left if size == 1 else rest
        if not from_ or have[from_[0]] != size:
            return ones + order
        placed_dims.append(from_.pop(0))
    return placed_dims if not rest and not left else ones + order


def _by_wanted(
    lying: list[Part], ordered: Sequence[Part], have: tuple[int, ...], wanted: tuple[int, ...]
) -> list[Step] | None:
    """Reshape to the wanted dimensions and permute them, if the elements of each lie together."""
    places: list[int] = []
    place = 0
    for size in wanted:
        if size == 1:
            places.append(-1)  # in front
            continue
        start, run = place, 1
        while run < size and place < len(ordered):
            run *= ordered[place].size
            place += 1
        if run != size or any(
            lying.index(ordered[i]) + 1 != lying.index(ordered[i + 1]) for i in range(start, place - 1)
        ):
            return None
        places.append(lying.index(ordered[start]))
    by_place = sorted(range(len(wanted)), key=lambda d: places[d])
    steps: list[Step] = []
    _reshape(steps, have, [wanted[d] for d in by_place])
    _permute(steps, [wanted[d] for d in by_place], [by_place.index(d) for d in range(len(wanted))])
    return steps


def _permute(steps: list[Step], have: Sequence[int], order: list[int]) -> None:
    steps.append(Step("permute", (order,), tuple(have[d] for d in order)))
