"""Indices are checked on the host before a lowering gets them, and those into several dimensions become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Places:
    """The bound of an index that says where each element goes, and how many of its last dimensions are one image."""

    count: int
    dims: int


@dataclass(frozen=True)
class Ignoring:
    """The bound of an index in which one value, within it or not, stands for no element: that arrives as `count`."""

    count: int
    ignored: int


@dataclass(frozen=True)
class Rows:
    """The bound of an index along a dimension, one for each element: that dimension arrives last, in rows."""

    count: int
    dim: int


@dataclass(frozen=True)
class Segments:
    """The bound of the lengths, or the offsets, of segments of so many elements; the offsets arrive.

    Lengths have to add up to all elements if they are `exact`.
    """

    count: int
    offsets: bool
    exact: bool = False


# Of the dimension that is indexed, how many elements it has; of each dimension, for a list of indices.
Bound = int | Sequence[int] | Places | Ignoring | Rows | Segments


def bounded(index: torch.Tensor, bound: int | Places | Ignoring | Rows | Segments) -> torch.Tensor | None:
    """What arrives for the index, or None if one is out of bounds."""
    if isinstance(bound, Segments):
        return offsets(index, bound)
    if isinstance(bound, Places):
        return sources(index, bound)
    if isinstance(bound, Rows):
        return rows(index, bound)
    if isinstance(bound, Ignoring):
        skipped = index == bound.ignored
        if checked(index[~skipped], bound.count) is None:
            return None
        return torch.where(skipped, bound.count, index)
    return checked(index, bound)


def checked(index: torch.Tensor, bound: int) -> torch.Tensor | None:
    """The index, or None if one is negative or not below `bound`."""
    return index if not index.numel() or (int(index.min()) >= 0 and int(index.max()) < bound) else None


def joined(indices: Sequence[torch.Tensor | None], sizes: Sequence[int]) -> torch.Tensor | None:
    """The index into the indexed dimensions taken as one, counted from the start; None if one is out of bounds."""
    total: torch.Tensor | None = None
    for index, size in zip(indices, sizes, strict=False):
        if index is None:
            continue
        if index.numel() and int(index.min()) < 0:
            index = torch.where(index < 0, index + size, index)
        if checked(index, size) is None:
            return None
        total = index if total is None else total * size + index
    return total


def sources(index: torch.Tensor, places: Places) -> torch.Tensor | None:
    """For each place of an image, which element goes there: the last one, or one beyond them all if none does.

    Shape (images, places). None if an index is out of bounds.
    """
    if checked(index, places.count) is None:
        return None
    index = index.flatten(-places.dims).flatten(end_dim=-2)
    images, elements = index.shape
    numbers = torch.arange(elements, dtype=torch.int64).expand(images, -1)
    last = torch.full((images, places.count), -1, dtype=torch.int64).scatter_reduce(1, index, numbers, "amax")
    return torch.where(last < 0, elements, last)


def rows(index: torch.Tensor, bound: Rows) -> torch.Tensor | None:
    """The index with its dimension last, as a matrix; None if one is out of bounds."""
    if checked(index, bound.count) is None:
        return None
    index = index.movedim(bound.dim, -1) if index.ndim else index
    return index.reshape(-1, index.shape[-1] if index.ndim else 1)


def offsets(index: torch.Tensor, bound: Segments) -> torch.Tensor | None:
    """The offsets; None if a segment ends before it starts, or beyond the elements."""
    found = index if bound.offsets else torch.nn.functional.pad(index.cumsum(-1), (1, 0))
    first, last = found[..., 0], found[..., -1]
    if bool((first < 0).any() or (found.diff() < 0).any() or (last > bound.count).any()):
        return None
    return None if bound.exact and bool((last != bound.count).any()) else found
