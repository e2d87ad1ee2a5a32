"""Turns a device value that covers a storage under one metadata into the value under another that covers it too."""

from __future__ import annotations

from typing import Any

from ..devices.base import Value
from ..meta import Meta

# ttnn's permute and reshape were tried up to this rank.
_MAX_RANK = 6


def can_relayout(source: Meta, target: Meta, nbytes: int) -> bool:
    """Whether both cover a storage of `nbytes` with one dtype, in ranks that ttnn permutes."""
    same = source.dtype == target.dtype and max(source.ndim, target.ndim) <= _MAX_RANK
    return same and source.covers(nbytes) and target.covers(nbytes)


def relayout(tt: Any, value: Value, source: Meta, target: Meta) -> Value:
    """The value under `target` of the storage that `value` fills under `source`, both covering it."""
    by_memory, wanted = _memory_order(source), _memory_order(target)
    if by_memory != sorted(by_memory):
        value = tt.permute(value, by_memory)
    shape = [target.shape[dim] for dim in wanted]
    if list(value.shape) != shape:
        value = tt.reshape(value, shape)
    if wanted != sorted(wanted):
        value = tt.permute(value, [wanted.index(dim) for dim in range(target.ndim)])
    return value


def _memory_order(meta: Meta) -> list[int]:
    """The dimensions from the outermost in memory to the innermost."""
    return sorted(range(meta.ndim), key=lambda dim: (-meta.stride[dim], dim))
