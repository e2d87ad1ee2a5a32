"""Puts the device value of a view into the value of its whole storage: the way in is the way out of relayout.py, turned
round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..devices.base import Value
from ..meta import Meta, intern
from .elements import placed
from .padding import tiled, too_large

_MAX_RANK = 8  # ttnn's permute, reshape, slice and concat are tested up to this rank

# The longest row, in elements of any dtype, that ttnn's slice and concat can keep in L1.
_ROW = 131072


@dataclass(frozen=True)
class Box:
    """What a view takes of a dimension of the whole, of which it takes every `step`-th index."""

    size: int
    start: int
    count: int
    step: int

    @property
    def groups(self) -> int:
        """How many times the step fits in the dimension; the last may reach over its end."""
        return -(-self.size // self.step)


@dataclass(frozen=True)
class Placing:
    """How a part gets into the whole: in which shapes and orders both have the same dimensions, and where it lies."""

    whole: tuple[int, ...]
    order: tuple[int, ...]  # of the whole's dimensions, the outermost in memory first
    boxes: tuple[Box, ...]
    sizes: tuple[int, ...]  # of the part's dimensions, without those of 1
    lying: tuple[int, ...]  # their order in the whole


@lru_cache(maxsize=1 << 12)
def placing(root: Meta, part: Meta) -> Placing | None:
    """How to put a value of `part` into one of `root`, which covers the storage; None if that cannot be done so."""
    if root.dtype != part.dtype or not part.numel or not root.covers(root.nbytes):
        return None
    if any(size > 1 and stride == 0 for size, stride in zip(part.shape, part.stride, strict=True)):
        return None  # PyTorch writes to no tensor that shows an element twice
    order = tuple(range(root.ndim))
    found = placed(root, part)
    if found is None:  # its dimensions do not split along those of the whole
        order = tuple(sorted(order, key=lambda dim: (-root.stride[dim], dim)))
        found = placed(intern(root.dtype, (root.numel,), (1,)), part)
    if found is None:
        return None
    dims, ordered = found
    boxes = tuple(Box(dim.size, dim.start, dim.count, dim.step if dim.count > 1 else 1) for dim in dims)
    lying = tuple(ordered.index(piece) for dim in dims for piece in dim.parts)
    way = Placing(root.shape, order, boxes, tuple(piece.size for piece in ordered), lying)
    shapes = [[box.size for box in boxes], _split(boxes), [box.count for box in boxes], list(way.sizes)]
    wide = any(shape[-1] > _ROW for shape in shapes[:2] if shape)
    if wide or max(map(len, shapes)) > _MAX_RANK:
        return None
    largest = max(tiled(shape, root.dtype) for shape in shapes)
    return None if too_large(largest, root.nbytes, "") else way


def put(tt: Any, whole: Value, part: Value, way: Placing) -> Value:
    """The value of the whole with the part in its place."""
    dtype = whole.dtype
    narrow = dtype in (tt.uint8, tt.uint16)  # ttnn neither reshapes nor tilizes these
    if narrow:
        whole, part = tt.typecast(whole, tt.int32), tt.typecast(part, tt.int32)
    boxes, rank = way.boxes, len(way.order)
    part = _permuted(tt, _shaped(tt, part, way.sizes), way.lying)
    ordered = [way.whole[dim] for dim in way.order]
    x = _shaped(tt, _permuted(tt, whole, way.order), [box.size for box in boxes])
    for dim, box in enumerate(boxes):  # filled up, so that it can be cut in groups of the step
        missing = box.groups * box.step - box.size
        if missing:
            x = tt.concat([x, _cut(tt, x, dim, 0, missing)], dim)
    grown = [box.groups * box.step for box in boxes]
    x = _in_box(tt, _shaped(tt, x, _split(boxes)), part, boxes)
    x = _shaped(tt, x, grown)
    for dim, box in enumerate(boxes):
        if grown[dim] != box.size:
            x = _cut(tt, x, dim, 0, box.size)
    x = _permuted(tt, _shaped(tt, x, ordered), [way.order.index(dim) for dim in range(rank)])
    return tt.typecast(x, dtype) if narrow else x


def _split(boxes: Sequence[Box]) -> list[int]:
    """The sizes of the whole's dimensions, each with a step cut into groups and places in a group."""
    return [size for box in boxes for size in ((box.size,) if box.step == 1 else (box.groups, box.step))]


def _in_box(tt: Any, whole: Value, part: Value, boxes: Sequence[Box]) -> Value:
    """The whole with the part in its box: in each dimension, from the last on, between the rest before and behind."""
    ranges: list[tuple[int, int, int]] = []  # start, stop and size
    for box in boxes:
        if box.step == 1:
            ranges.append((box.start, box.start + box.count, box.size))
        else:
            group, place = divmod(box.start, box.step)
            ranges.append((group, group + box.count, box.groups))
            ranges.append((place, place + 1, box.step))
    made = _shaped(tt, part, [stop - start for start, stop, _ in ranges])
    for dim in reversed(range(len(ranges))):
        start, stop, size = ranges[dim]
        pieces = [made]
        starts, stops = [0] * len(ranges), [size for _, _, size in ranges]
        starts[:dim], stops[:dim] = [r[0] for r in ranges[:dim]], [r[1] for r in ranges[:dim]]
        if start:
            pieces.insert(0, tt.slice(whole, starts, [*stops[:dim], start, *stops[dim + 1 :]], [1] * len(starts)))
        if stop < size:
            pieces.append(tt.slice(whole, [*starts[:dim], stop, *starts[dim + 1 :]], stops, [1] * len(starts)))
        made = tt.concat(pieces, dim) if len(pieces) > 1 else made
    return made


def _shaped(tt: Any, x: Value, shape: Sequence[int]) -> Value:
    return x if x.shape == tuple(shape) else tt.reshape(x, list(shape))


def _permuted(tt: Any, x: Value, order: Sequence[int]) -> Value:
    return x if list(order) == sorted(order) else tt.permute(x, list(order))


def _cut(tt: Any, x: Value, dim: int, start: int, stop: int) -> Value:
    rank = len(x.shape)
    starts, stops = [0] * rank, [x.shape[d] for d in range(rank)]
    starts[dim], stops[dim] = start, stop
    return tt.slice(x, starts, stops, [1] * rank)
