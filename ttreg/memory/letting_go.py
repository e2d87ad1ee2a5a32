"""What cells let go of in a forked process, and when their device has no memory left or answers no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cell import Cell
from .inherited import not_here
from .numbers import Numbers


def forked(cell: Any) -> None:
    """In a forked process: use the data that the host holds; if it holds none, raise DeviceError on access."""
    cell._parents, cell.longer = (cell.values, cell.longer), None  # only the parent may free device memory
    if cell.storage is None:
        cell.lazy = not_here
    else:
        cell._pinned, cell.values = True, {}


def free(cell: Cell) -> None:
    """Let go of device values that can be made again: those of views, and all if the host has the content."""
    with cell._lock:
        if cell.storage is not None:
            cell._replace_values({})
            return
        views: Any = cell._views or ()
        for made, _ in views:
            for meta in set(made) - {cell.whole, *cell.parts}:
                cell.values.pop(meta, None)
        cell._views, cell._views_nbytes = None, 0


def lose(cell: Cell, gone: Callable[[], Any]) -> bool:
    """Let go of all device values: the device answers no more. Whether nobody else has the content.

    Then whoever asks for it gets what `gone` raises.
    """
    with cell._lock:
        if cell.storage is None and type(cell.lazy) is Numbers:
            cell.storage = cell.lazy.on_host()
        lost = cell.storage is None
        cell._replace_values({})
        cell.before, cell.parts = None, ()
        if lost:
            cell.lazy = gone
        return lost
