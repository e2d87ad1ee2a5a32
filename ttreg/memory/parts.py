"""Blocks of a storage, such as the chunks of a tensor: where they lie, and whether two of them are disjoint."""

from __future__ import annotations

from functools import lru_cache

from ..meta import Meta


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


@lru_cache(maxsize=4096)
def apart(one: Meta, other: Meta, root: Meta) -> bool:
    """Whether both are blocks of `root` and share no element."""
    first, second = block(one, root), block(other, root)
    if first is None or second is None:
        return False
    return any(a.stop <= b.start or b.stop <= a.start for a, b in zip(first, second, strict=True))
