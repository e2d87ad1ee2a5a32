"""Finds out whether a view's matrices are at hand transposed, or are made so in fewer ttnn calls."""

from __future__ import annotations

from ..devices.base import Value
from ..meta import Meta, transposed
from .cell import Cell
from .relayout import route


def turned(cell: Cell, meta: Meta) -> Value | None:
    """The device value of a view with its last two dimensions swapped, if the view itself would take more calls."""
    other, values = transposed(meta), cell.values
    if meta in values or cell.lazy is not None:
        return None
    value = values.get(other)
    if value is not None:
        return value
    held = cell.whole.shape
    there, back = route(cell.root, meta, held=held), route(cell.root, other, held=held)
    if back is None or (there is not None and there.calls <= back.calls):
        return None
    return cell.device_value(other, None)
