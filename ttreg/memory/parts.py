"""Blocks of a storage, such as the chunks of a tensor: where they lie, and whether two of them are disjoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

from ..meta import Meta
from .elements import placed

# Parts that are written are put into the whole when someone needs it; no more than these are kept until then.
_MOST_PARTS = 8


@lru_cache(maxsize=4096)
def block(meta: Meta, root: Meta) -> tuple[range, ...] | None:
    """The indices that `meta` has in each dimension of `root`, which covers the storage; None if it is no block."""
    if meta.ndim != root.ndim or meta.dtype != root.dtype or 0 in root.stride:
        return None
    rest, found = meta.offset - root.offset, [range(1)] * root.ndim
    for dim in sorted(range(root.ndim), key=lambda dim: -root.stride[dim]):
        size = meta.shape[dim]
        if root.shape[dim] == 1:
            if size != 1:
                return None
            continue
        start, rest = divmod(rest, root.stride[dim])
        if start + size > root.shape[dim] or (size > 1 and meta.stride[dim] != root.stride[dim]):
            return None
        found[dim] = range(start, start + size)
    return None if rest else tuple(found)


def stays_apart(meta: Meta, parts: Sequence[Meta], root: Meta) -> bool:
    """Whether a written part is kept by itself for now: it is a block beside the few others that are."""
    if block(meta, root) is None or len(parts) >= _MOST_PARTS:
        return False
    return all(part is meta or apart(part, meta, root) for part in parts)


@lru_cache(maxsize=4096)
def indices(meta: Meta, root: Meta) -> tuple[range, ...] | None:
    """The indices that a view has in each dimension of `root`, which covers the storage; None if it has no such."""
    if meta.dtype != root.dtype or not meta.numel or not root.covers(root.nbytes):
        return None
    found = placed(root, meta)
    if found is None or len(found[0]) != root.ndim:
        return None
    return tuple(range(dim.start, dim.start + (dim.count - 1) * dim.step + 1, dim.step) for dim in found[0])


@lru_cache(maxsize=4096)
def apart(one: Meta, other: Meta, root: Meta) -> bool:
    """Whether both lie along the dimensions of `root` and share no element."""
    first, second = indices(one, root), indices(other, root)
    if first is None or second is None:
        return False
    return any(map(_disjoint, first, second))


def _disjoint(one: range, other: range) -> bool:
    if one.stop <= other.start or other.stop <= one.start:
        return True
    return (one.start - other.start) % gcd(one.step, other.step) != 0
