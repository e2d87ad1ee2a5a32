"""The memory of the tensors that a function reaches, and what autograd does with them, before a call."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from .arguments import Arguments, of_autograd


class State:
    """What a recording depends on of tensors, besides their content."""

    def __init__(self, reached: Iterable[torch.Tensor]):
        self._reached = list(reached)
        device = [tensor for tensor in self._reached if isinstance(tensor, DeviceTensor)]
        self._device = [(tensor, tensor._cell, tensor._meta) for tensor in device]
        self._plain = [(t, storage_of(t)) for t in self._reached if not isinstance(t, DeviceTensor)]
        # A tensor may be transposed or resized in place. The version of a parameter tells of it.
        self._shapes = [(t, t.shape, t.stride()) for t, _ in self._plain if type(t) is torch.Tensor]
        self._owners = [tensor for tensor in self._reached if tensor.requires_grad and tensor.is_leaf]
        self._of_autograd = list(map(of_autograd, self._reached))
        self._memories = {id(cell) for _, cell, _ in self._device} | {storage._cdata for _, storage in self._plain}

    def moved(self) -> str:
        """Which tensor has other memory than before; empty if none has."""
        for tensor, cell, meta in self._device:
            if tensor._cell is not cell or tensor._meta is not meta:
                return "the data of a tensor"
        for plain, storage in self._plain:
            if storage_of(plain) is not storage:
                return "the memory of a tensor"
        for plain, shape, stride in self._shapes:
            if plain.shape != shape or plain.stride() != stride:
                return "the shape of a tensor"
        return ""

    def changed(self, arguments: Arguments) -> str:
        """What is not as it was; empty if all is, and no argument shares memory with these tensors."""
        if list(map(of_autograd, self._reached)) != self._of_autograd:
            return "which tensors require grad, or have gradients or hooks"
        if self.shares_memory(arguments):
            return "an argument that shares memory with another tensor"
        return self.moved()

    def shares_memory(self, arguments: Arguments) -> bool:
        """Whether an argument, or a gradient, shares memory with a tensor that the function reaches otherwise."""
        given = arguments.memories()
        if not self._memories.isdisjoint(given):
            return True
        gradients = [_memory_of(owner.grad) for owner in self._owners if owner.grad is not None]
        if not gradients:
            return False
        memories = set(gradients)
        return len(memories) < len(gradients) or not memories.isdisjoint(self._memories | given)


def _memory_of(tensor: torch.Tensor) -> int:
    return id(tensor._cell) if isinstance(tensor, DeviceTensor) else storage_of(tensor)._cdata
