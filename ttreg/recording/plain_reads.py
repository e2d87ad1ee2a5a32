"""What a recorded function does to tensors of the host without an aten call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..memory.tensor import DeviceTensor
from ..modes import Watching
from ..pytorch_private import tree_leaves
from .tape import Tape
from .words import content

_READS = frozenset((torch.Tensor.tolist, torch.Tensor.__repr__))
_GIVES_AWAY = frozenset(
    (
        torch.Tensor.numpy,
        torch.Tensor.__array__,
        torch.Tensor.__dlpack__,
        torch.Tensor.data_ptr,
        torch.Tensor.untyped_storage,
        torch.Tensor.storage,
        torch.Tensor.apply_,
        torch.Tensor.map_,
        torch.Tensor.set_,
        torch.Tensor.share_memory_,
        torch.Tensor.__deepcopy__,
        torch.Tensor.__reduce_ex__,
        torch.Tensor.requires_grad_,
        torch.Tensor.__setstate__,
    )
)
_NAMES = frozenset(("data.__set__", "requires_grad.__set__"))


class PlainReads(Watching):
    """Looks at each call of a function that takes tensors, while a function is recorded."""

    def __init__(self, tape: Tape):
        super().__init__()
        self._tape = tape

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._tape.on():
            self._look(func, args)
        return func(*args, **(kwargs or {}))

    def _look(self, function: Callable[..., Any], args: tuple) -> None:
        tape = self._tape
        given = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
        plain = [tensor for tensor in given if type(tensor) is not DeviceTensor]
        if not plain:
            return
        name = getattr(function, "__name__", "")
        owner = getattr(getattr(function, "__self__", None), "__name__", "")
        if function in _READS:
            tape.read(content, tape.plain(plain[0]), outcome=content(plain[0]))
        elif function in _GIVES_AWAY or f"{owner}.{name}" in _NAMES:
            tape.fail(f"it calls {name} of a tensor of the host, which no replay would see")
