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


@lru_cache(maxsize=1 << 14)
def grown(root: Meta, shape: tuple[int, ...]) -> Meta:
    """The tensor, which covers its storage, in a larger shape with the same order of dimensions."""
    for dim, size in enumerate(shape):
        if size != root.shape[dim]:
            root = stretched(root, dim, size)
    return root


@lru_cache(maxsize=1 << 14)
def first_of(longer: Meta, shape: tuple[int, ...]) -> Meta:
    """The first elements along each dimension."""
    return intern(longer.dtype, shape, longer.stride, longer.offset)


@lru_cache(maxsize=1 << 14)
def moved(view: Meta, root: Meta, shape: tuple[int, ...]) -> tuple[Meta, Meta] | None:
    """Where a view of `root` lies in a longer storage, whose `root` has this shape: the view itself, and with its room.

    None if it does not lie in one piece there, as where a dimension of the view runs on into the next row.
    """
    own = whole = view
    for dim, size in enumerate(shape):
        if size != root.shape[dim]:
            found = _moved_along(own, whole, root, dim, size)
            if found is None:
                return None
            own, whole = found
            root = stretched(root, dim, size)
    return own, whole


def _moved_along(own: Meta, whole: Meta, root: Meta, dim: int, size: int) -> tuple[Meta, Meta] | None:
    """As `moved`, where one dimension gets longer; `whole` has the strides of `own` and as many elements or more."""
    length, step = root.shape[dim], root.stride[dim]
    block, wide = length * step, size * step
    if length == 1 or own.dtype is not root.dtype:  # strides do not tell which dimension of 1 it is
        return None
    inside, through, stride = own.offset % block, None, []
    for d, (n, s) in enumerate(zip(own.shape, own.stride, strict=True)):
        if n == 1 or s == 0 or s % block == 0:
            stride.append(s // block * wide if n > 1 else s)
            continue
        stride.append(s)
        if n * s == block and step % s == 0:
            through = d
        inside += (n - 1) * s
    if inside >= block:
        return None
    offset = own.offset // block * wide + own.offset % block
    shape = list(whole.shape)
    if through is not None and own.offset % block < own.stride[through]:
        shape[through] = shape[through] // length * size
    strides = tuple(stride)
    return intern(own.dtype, own.shape, strides, offset), intern(own.dtype, tuple(shape), strides, offset)
