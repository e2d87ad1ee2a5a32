"""About how many bytes of the device's memory cells and uploads take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..costs.calls import is_tensor, operand
from ..devices.base import KeptWeights
from ..images import rows
from .cell import Cell
from .padding import tiled


def of_cell(cell: Cell) -> int:
    """The bytes of a cell's values on the device."""
    root, image, views = cell.root, cell.image, cell._views_nbytes  # another thread may replace them
    longer = cell.longer
    if longer is not None:
        views += tiled(longer.root.shape, longer.root.dtype)
    if cell.whole not in cell.values and cell.before is None:
        return views
    return views + tiled(rows(image.tensor.shape) if cell.folded and image is not None else root.shape, root.dtype)


def of_values(kept: Iterable[Any]) -> int:
    """The bytes of values that uploads keep, each counted once."""
    values = {id(value): value for value in parts(list(kept))}
    return sum(operand(value).held for value in values.values() if is_tensor(value))


def parts(value: Any) -> Iterator[Any]:
    """The device values in what is kept: it may be a list of parts, or weights that a device has prepared."""
    if isinstance(value, KeptWeights):
        value = value.values()
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from parts(item)
    else:
        yield value
