"""Tries a call on the host with copies of its arguments, to learn what PyTorch does. The program does not notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..devices.base import RefusedByDevice
from ..errors import TtregError
from ..memory.tensor import DeviceTensor
from ..meta import meta_of
from ..modes import without_modes
from ..pytorch_private import OpOverload, tree_map_only
from .autocast import autocast_within

Read = Callable[[torch.Tensor], torch.Tensor]


def error_of(op: OpOverload, args: tuple, kwargs: dict[str, Any], read: Read) -> Exception | None:
    """What PyTorch raises for the call; None if PyTorch accepts the call, or if the arguments cannot be read.

    `read` gives a plain tensor with the content of any tensor.
    """
    with without_modes():
        try:
            copied = _copied(args, kwargs, read)
        except (RefusedByDevice, TtregError):
            return None
        try:
            _made(op, *copied)
        except Exception as error:
            return None if _out_of_memory(error) else error
    return None


def _out_of_memory(error: Exception) -> bool:
    """Whether the host ran out of memory; that does not show that the call is wrong."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def results(op: OpOverload, args: tuple, kwargs: dict[str, Any], read: Read) -> Any:
    """What the op returns for copies of its arguments."""
    with without_modes():
        return _made(op, *_copied(args, kwargs, read))


def _made(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]), autocast_within(op, in_parts=True):
        return op(*args, **kwargs)


def _copied(args: tuple, kwargs: dict[str, Any], read: Read) -> tuple[tuple, dict[str, Any]]:
    storages: dict[Any, torch.UntypedStorage] = {}

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        # Copies share memory as the originals do: PyTorch may refuse to write to overlapping memory.
        plain = read(tensor)
        memory = plain.untyped_storage()
        key: Any = memory._cdata
        if isinstance(tensor, DeviceTensor) and tensor._cell.storage is None:  # then `read` downloaded it just now
            key = tensor._cell
        if key not in storages:
            storages[key] = memory.clone()
        return meta_of(plain).on_storage(storages[key])

    args, kwargs = tree_map_only(torch.Tensor, copy, (args, kwargs))
    return tree_map_only(torch.Generator, torch.Generator.clone_state, (args, kwargs))
