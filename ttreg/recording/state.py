"""The memory of the tensors that a function reaches, and what autograd does with them, before a call."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from operator import attrgetter, is_
from typing import Any

import torch

from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_look_up, storage_of
from ..pytorch_private import HOOKS_OF_A_TENSOR
from .arguments import Arguments, of_autograd

_requires_grad, _is_leaf, _gradient = map(attrgetter, ("requires_grad", "is_leaf", "grad"))
_hooks = tuple(map(attrgetter, HOOKS_OF_A_TENSOR))
_shape, _stride = attrgetter("shape"), torch.Tensor.stride


class State:
    """What a recording depends on of tensors, besides their content."""

    def __init__(self, reached: Iterable[torch.Tensor]):
        self._reached = list(reached)
        device = [tensor for tensor in self._reached if isinstance(tensor, DeviceTensor)]
        self._device = [(tensor, tensor._cell, tensor._meta) for tensor in device]
        self._plain = [tensor for tensor in self._reached if not isinstance(tensor, DeviceTensor)]
        self._storage_of = storage_look_up(self._plain)
        self._storages = list(map(self._storage_of, self._plain))
        # A tensor may be transposed or resized in place. The version of a parameter tells of it.
        self._shaped = [tensor for tensor in self._plain if type(tensor) is torch.Tensor]
        self._shapes, self._strides = list(map(_shape, self._shaped)), list(map(_stride, self._shaped))
        self._requires = list(map(_requires_grad, self._reached))
        self._graded = [tensor for tensor in self._reached if tensor.requires_grad]
        self._of_graded = list(map(of_autograd, self._graded))
        self._owners = [tensor for tensor in self._graded if tensor.is_leaf]
        self._alone = all(of == (True, None) for of in self._of_graded)  # leaves without gradients and hooks
        self._memories = {id(cell) for _, cell, _ in self._device} | {storage._cdata for storage in self._storages}

    def moved(self) -> str:
        """Which tensor has other memory than before; empty if none has."""
        for tensor, cell, meta in self._device:
            if tensor._cell is not cell or tensor._meta is not meta:
                return "the data of a tensor"
        if not all(map(is_, map(self._storage_of, self._plain), self._storages)):
            return "the memory of a tensor"
        shaped = self._shaped
        if list(map(_shape, shaped)) != self._shapes or list(map(_stride, shaped)) != self._strides:
            return "the shape of a tensor"
        return ""

    def changed(self, arguments: Arguments) -> str:
        """What is not as it was; empty if all is, and no argument shares memory with these tensors."""
        if list(map(_requires_grad, self._reached)) != self._requires or not self._same_for_autograd():
            return "which tensors require grad, or have gradients or hooks"
        if self.shares_memory(arguments):
            return "an argument that shares memory with another tensor"
        return self.moved()

    def _same_for_autograd(self) -> bool:
        """Whether tensors that require grad are the leaves that they were, with such gradients and hooks."""
        graded = self._graded
        if not self._alone:
            return list(map(of_autograd, graded)) == self._of_graded
        return (
            all(map(is_, map(_gradient, graded), repeat(None)))
            and all(map(_is_leaf, graded))
            and not any(any(map(hooks, graded)) for hooks in _hooks)
        )

    def shares_memory(self, arguments: Arguments) -> bool:
        """Whether an argument, or a gradient, shares memory with a tensor that the function reaches otherwise."""
        given = arguments.memories()
        if not self._memories.isdisjoint(given):
            return True
        gradients = [_memory_of(gradient) for gradient in map(_gradient, self._owners) if gradient is not None]
        if not gradients:
            return False
        memories = set(gradients)
        return len(memories) < len(gradients) or not memories.isdisjoint(self._memories | given)


def _memory_of(tensor: Any) -> int:
    return id(tensor._cell) if isinstance(tensor, DeviceTensor) else storage_of(tensor)._cdata
