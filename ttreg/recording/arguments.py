"""The arguments of a call: their tensors, and a key that is equal for calls that one recording may serve."""

from __future__ import annotations

from typing import Any

import torch

from ..memory.pieces import in_one_piece
from ..memory.tensor import DeviceTensor, metadata_of
from ..memory.watch import storage_of
from ..meta import is_plain
from ..modes import without_modes
from ..pytorch_private import hooks_of
from .ambient import ambient

_EQUAL = frozenset(
    (int, str, bytes, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)
)
_TYPES = frozenset((torch.Tensor, torch.nn.Parameter))
_grad = torch.is_grad_enabled


def of_autograd(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What autograd does with a tensor: whether it requires grad and is a leaf, its gradient, and its hooks."""
    if not tensor.requires_grad:
        return (False,)
    if not tensor.is_leaf:
        return True, "of a graph"
    gradient = tensor.grad
    held = None if gradient is None else (type(gradient), metadata_of(gradient))
    return True, held, *hooks_of(tensor)


class Arguments:
    """The tensors among the arguments of one call, its other objects, and the key; `refusal` says why there is none."""

    __slots__ = ("_groups", "_numbers", "_parts", "_session", "key", "objects", "refusal", "tensors")

    def __init__(self, session: Any, args: tuple, kwargs: dict[str, Any]):
        self._session = session
        self.tensors: list[torch.Tensor] = []
        self.objects: list[Any] = []
        self.refusal = ""
        self._groups: dict[Any, int] = {}
        self._numbers: dict[int, int] = {}
        self._parts: list[Any] = [session.entries.generation, _grad(), *ambient()]
        for value in args:
            self._add(value)
        for name, value in kwargs.items():
            self._parts.append(name)
            self._add(value)
        self.key = tuple(self._parts)
        if _grad() and any(tensor.requires_grad and not tensor.is_leaf for tensor in self.tensors):
            self.refusal = "an argument has a graph, through which no replay would go backward"

    def memories(self) -> set[Any]:
        """The cells and storages of the tensors."""
        return set(self._groups)

    def _add(self, value: Any) -> None:
        kind, parts = type(value), self._parts
        if kind is DeviceTensor:
            self._device(value)
        elif kind in _TYPES:
            self._plain(value)
        elif kind in _EQUAL:
            parts.append((kind, value))
        elif kind is bool or kind is float or kind is complex:
            parts.append((kind, repr(value)))
        elif kind is list or kind is tuple:
            parts += (kind, len(value))
            for item in value:
                self._add(item)
        elif kind is dict:
            parts += (kind, len(value))
            for key, item in value.items():
                self._add(key)
                self._add(item)
        elif isinstance(value, torch.Tensor):
            self.refusal = f"an argument is a {kind.__name__}"
        else:
            parts.append(id(value))
            self.objects.append(value)

    def _number(self, tensor: torch.Tensor) -> bool:
        """Number a tensor that comes for the first time."""
        number = self._numbers.get(id(tensor))
        if number is not None:
            self._parts.append(number)
            return False
        self._numbers[id(tensor)] = len(self.tensors)
        self.tensors.append(tensor)
        return True

    def _device(self, tensor: DeviceTensor) -> None:
        if not self._number(tensor):
            return
        cell = tensor._cell
        if cell.lazy is not None or cell.parts:
            with without_modes():  # the block is no part of what the device does
                in_one_piece(cell)
        on_host = not cell.values or cell.pinned
        if not on_host and not self._session.holds(tensor):
            self.refusal = "an argument is a tensor of another session"
        group = self._groups.setdefault(id(cell), len(self._groups))
        held = "host" if on_host else cell.whole
        self._parts.append((tensor._meta, held, group, of_autograd(tensor), tensor.is_inference()))

    def _plain(self, tensor: torch.Tensor) -> None:
        if not self._number(tensor):
            return
        if not is_plain(tensor):
            self.refusal = "an argument is no ordinary tensor of the CPU"
            return
        group = self._groups.setdefault(storage_of(tensor)._cdata, len(self._groups))
        self._parts.append(
            (
                tensor.dtype,
                tensor.shape,
                tensor.stride(),
                tensor.storage_offset(),
                of_autograd(tensor),
                tensor.is_inference(),
                type(tensor),
                group,
            )
        )
