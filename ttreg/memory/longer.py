"""Where a tensor, or a view of one, lies in a longer storage that begins with the same rows."""

from __future__ import annotations

from functools import lru_cache

from ..meta import Meta, intern


@lru_cache(maxsize=1 << 14)
def stretched(root: Meta, dim: int, size: int) -> Meta:
    """The tensor, which covers its storage, with `size` elements along `dim` and the same order of dimensions."""
    block = root.stride[dim] * root.shape[dim]
    wide = root.stride[dim] * size
    shape = tuple(size if d == dim else n for d, n in enumerate(root.shape))
    stride = tuple(s if d == dim or s < block else s // block * wide for d, s in enumerate(root.stride))
    return intern(root.dtype, shape, stride)


def shortened(longer: Meta, dim: int, length: int) -> Meta:
    """The first `length` elements along `dim`."""
    return intern(longer.dtype, (*longer.shape[:dim], length, *longer.shape[dim + 1 :]), longer.stride)


@lru_cache(maxsize=1 << 14)
def stretched_view(view: Meta, root: Meta, dim: int, size: int) -> tuple[Meta, int] | None:
    """The view over the stretched storage of `root`, and which of its dimensions got longer.

    None if no dimension of the view is the whole of `dim`, or if another one runs along it too.
    """
    if view is root:
        return stretched(root, dim, size), dim
    length, step = root.shape[dim], root.stride[dim]
    block, wide = length * step, size * step
    whole = [d for d, (n, s) in enumerate(zip(view.shape, view.stride, strict=True)) if (n, s) == (length, step)]
    if length == 1 or len(whole) != 1 or view.dtype != root.dtype or view.offset % block >= step:
        return None
    stride = []
    for d, (n, s) in enumerate(zip(view.shape, view.stride, strict=True)):
        inside, outside = n * s <= step, s % block == 0
        if d != whole[0] and n > 1 and not inside and not outside:
            return None
        stride.append(s // block * wide if s and outside else s)
    shape = tuple(size if d == whole[0] else n for d, n in enumerate(view.shape))
    offset = view.offset // block * wide + view.offset % block
    return intern(view.dtype, shape, tuple(stride), offset), whole[0]
