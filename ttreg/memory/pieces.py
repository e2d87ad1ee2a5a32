"""Brings a cell's content into the one value of its whole storage, and gives it another content."""

from __future__ import annotations

from typing import Any

import torch

from ..meta import Meta
from .cell import Cell


def in_one_piece(cell: Cell) -> None:
    """Make the value of the whole storage of a cell that the device holds: of a lazy one, or of written parts."""
    cell._compute_lazy()
    if cell.parts and cell.storage is None:
        cell._put_parts()


def only_whole(cell: Cell) -> None:
    """As `in_one_piece`, and let go of what was derived from that value."""
    with cell._lock:
        in_one_piece(cell)
        value = cell.values.get(cell.whole)
        if value is not None and (len(cell.values) > 1 or cell.longer is not None):
            cell._replace_values({cell.whole: value})


def replace_on_host(cell: Cell, storage: torch.UntypedStorage) -> None:
    """Replace the whole content by that of a storage of the host, which from now on is the cell's own."""
    with cell._lock:
        cell.lazy = cell.before = None
        cell.parts = ()
        cell.storage, cell.nbytes = storage, storage.nbytes()
        cell._replace_values({})


def on_host_only(home: Any, root: Meta, storage: torch.UntypedStorage) -> Cell:
    """A new cell of a session whose content is on the host."""
    made = Cell(home, root, None)
    made.storage, made.nbytes = storage, storage.nbytes()
    return made
