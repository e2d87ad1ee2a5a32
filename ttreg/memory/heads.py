"""Queries, keys and values that one product has made side by side: one ttnn call takes the heads of all three apart."""

from __future__ import annotations

from functools import lru_cache

from ..meta import Meta, intern
from .padding import TILE, tiled
from .relayout import APART, FLOATS, Route, Step, route


@lru_cache(maxsize=1 << 14)
def way_to(root: Meta, view: Meta, held: tuple[int, ...], alone: bool) -> Route | None:
    """The route from the value of a storage, which `root` covers and which is held in a shape, to that of a view.

    It may give other views too, unless `alone` forbids that.
    """
    way = None if alone else _three(root, view, held)
    return route(root, view, held=held) if way is None else way


def _three(root: Meta, view: Meta, held: tuple[int, ...]) -> Route | None:
    """The route to the heads of queries, keys and values at once, if the view shows those of one of them.

    They lie in rows: those of queries, of keys, of values. Keys and values may have fewer heads than queries; how many
    heads each has follows from where the view begins, since all three fill the row.
    """
    if view.ndim != 4 or root.dtype is not view.dtype or root.dtype not in FLOATS or not root.is_default:
        return None
    batch, heads, length, width = view.shape
    row = root.shape[-1] if root.ndim else 0
    if not view.numel or width % TILE or row % width or view.offset % width or view.offset >= row:
        return None
    lie = zip(view.shape, view.stride, (length * row, width, row, 1), strict=True)
    if root.numel != batch * length * row or any(size > 1 and have != stride for size, have, stride in lie):
        return None
    counts = _counts(view.offset // width, heads, row // width)
    if counts is None:
        return None
    queries, keys = counts
    views = tuple(
        _view(view, size, start * width) for size, start in ((queries, 0), (keys, queries), (keys, queries + keys))
    )
    rows = (batch, length, row)
    steps = [] if held == rows else [Step("reshape", (list(rows),), rows)]
    steps.append(Step(APART, ([queries, keys],), views[0].shape))
    largest = max(tiled(shape, view.dtype) for shape in (views[0].shape, *(step.shape for step in steps)))
    return Route(tuple(steps), largest, views)


def _view(of: Meta, count: int, offset: int) -> Meta:
    """The same view of so many heads elsewhere in the rows. PyTorch gives dimensions of 1 the stride of all heads."""
    shape = (of.shape[0], count, *of.shape[2:])
    all_heads = of.shape[1] * of.shape[3]
    lie = zip(shape, of.stride, strict=True)
    stride = tuple(count * of.shape[3] if n == 1 and s == all_heads else s for n, s in lie)
    return intern(of.dtype, shape, stride, offset)


def _counts(place: int, heads: int, total: int) -> tuple[int, int] | None:
    """How many heads queries have, and keys, in a row of `total`, of which the view shows `heads` from `place` on."""
    if place == 0:
        queries, keys = heads, (total - heads) // 2
    else:
        queries, keys = (place if total == place + 2 * heads else place - heads), heads
    fits = queries > 0 and keys > 0 and queries % keys == 0 and total == queries + 2 * keys
    return (queries, keys) if fits else None
