"""Reads a storage that is held padded out of the longer one, whose spare places hold anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..devices.base import Value
from ..meta import Meta
from .longer import first_of, moved
from .relayout import route


def value_in_longer(cell: Any, meta: Meta) -> Value | None:
    """The device value of a view, from the longer storage: its shape is the same for all sizes that are padded alike.

    None if that is not the way to it.
    """
    with cell._lock:
        longer = cell.longer
        if longer is None or cell.appended is not None or meta is cell.root:
            return None
        found = moved(meta, cell.root, whole_of(longer).shape)
    return None if found is None or route(longer.root, found[0]) is None else longer.device_value(found[0], None)


def read_in_longer(cell: Any, storage: torch.UntypedStorage, download: Callable[[Value], torch.Tensor]) -> bool:
    """Fill the memory from the longer storage, which is downloaded as it is; return whether that is the way to it."""
    longer = cell.longer
    if longer is None or cell.appended is not None:
        return False
    meta, memory = cell.root, longer._memory(download)
    meta.on_storage(storage).copy_(first_of(whole_of(longer), meta.shape).on_storage(memory))
    return True


def whole_of(longer: Any) -> Meta:
    """The metadata of the tensor that covers the longer storage, also if it is held as an image."""
    return longer.root if longer.image is None else longer.image.tensor
