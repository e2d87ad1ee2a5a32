"""Makes tensors that are padded along dimensions whose sizes vary, and gives the program its own part of such."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import lru_cache, partial
from typing import Any

import torch

from ..devices.base import Value
from ..memory.cell import Cell
from ..memory.in_longer import whole_of
from ..memory.longer import first_of
from ..memory.tensor import DeviceTensor, metadata_of
from ..meta import CPU, Meta, meta_of
from ..modes import without_modes
from .session import Session


@lru_cache(maxsize=1 << 10)
def spare(own: int, size: int, rank: int) -> torch.Tensor:
    """Whether each place of the first of `rank` dimensions is behind the tensor's own."""
    with without_modes():
        return (torch.arange(size, dtype=torch.int64, device=CPU) >= own).view(size, *[1] * (rank - 1))


@lru_cache(maxsize=1 << 10)
def seen(own: int, size: int) -> torch.Tensor:
    """A row that hides the places behind the tensor's own where it is added."""
    with without_modes():
        row = torch.zeros(1, size, dtype=torch.float32, device=CPU)
        row[:, own:] = -math.inf
        return row


class Padded:
    """Padded copies of host tensors. The last few are kept, so that an argument of several calls is uploaded once."""

    _MOST_BYTES = 1 << 26

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple, torch.Tensor] = OrderedDict()
        self._nbytes = 0

    def to(self, plain: torch.Tensor, shape: tuple[int, ...], number: float) -> torch.Tensor:
        """The tensor with the number behind its own elements. Nobody writes to it."""
        key = plain.data_ptr(), metadata_of(plain), shape, number
        with without_modes(), torch.no_grad():
            own = tuple(slice(0, size) for size in plain.shape)
            kept = self._kept.get(key)
            if kept is not None and torch.equal(kept[own], plain):
                return kept
            padded = torch.full(shape, number, dtype=plain.dtype, device=CPU)
            padded[own] = plain
        while self._kept and self._nbytes + padded.nbytes > self._MOST_BYTES:
            self._nbytes -= self._kept.popitem(last=False)[1].nbytes
        replaced = self._kept.pop(key, None)
        self._nbytes += padded.nbytes - (0 if replaced is None else replaced.nbytes)
        self._kept[key] = padded
        return padded


def part_of(session: Session, longer: Any, meta: Meta) -> torch.Tensor:
    """The first elements of a tensor along each dimension, cut out when someone needs them."""
    if metadata_of(longer) is meta:
        return longer
    first = first_of(meta_of(longer), meta.shape)
    cell: Any = longer._cell if isinstance(longer, DeviceTensor) else None
    if cell is None or cell.storage is not None:
        with without_modes():
            own = torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device=CPU)
            return own.copy_(first.on_storage(session.read(longer).untyped_storage()))
    part: Any = session.new_tensor(meta, _nothing)
    _begin(session, part._cell, longer, first)
    return part


def become_part_of(session: Session, target: DeviceTensor, longer: Any) -> bool:
    """Write the first elements of a tensor to the whole of the target; return whether the device may."""
    cell, meta = target._cell, target._meta
    with session.device.lock:
        if not isinstance(longer, DeviceTensor) or longer._cell.storage is not None or not cell.may_write(meta, False):
            return False
        cell.device_write(meta, None)
        cell.values = {}
        _begin(session, cell, longer, first_of(longer._meta, meta.shape))
        target._view = None
        return True


def _nothing() -> Value:
    raise AssertionError("`_begin` says how the value is made")


def _begin(session: Session, cell: Any, longer: Any, first: Meta) -> None:
    """Let the cell be the beginning of a longer tensor's, which no tensor of the program's is over."""
    held = longer._cell
    hidden = Cell(session, held.root, None)  # as it is not among the session's, its end brings no data to the host
    hidden.__dict__.update(held.__dict__)
    # The result may be its argument in another shape, and dimensions have to match.
    if whole_of(hidden) is not longer._meta:
        shaped = Cell(session, longer._meta, None)
        shaped.lazy, hidden = partial(_cut, session, hidden, longer._meta), shaped
    cell.longer, cell.lazy = hidden, partial(_cut, session, hidden, first)


def _cut(session: Session, longer: Cell, meta: Meta) -> Value:
    value = longer.device_value(meta, None)
    return session.brought_back(longer.peek(meta)) if value is None else value
