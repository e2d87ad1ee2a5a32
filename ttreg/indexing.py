"""Indices are checked on the host before a lowering gets them, and those into several dimensions become one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Of the dimension that is indexed, how many elements it has; of each dimension, for a list of indices.
Bound = int | Sequence[int]


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
