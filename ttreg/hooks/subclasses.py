"""Tensors of other types made of those of the device: they lie over the memory on the host, and autograd follows.

A tensor of the device has a type of its own, which PyTorch refuses to change. After a block, too, such tensors are
made of what came out of it, so these functions are replaced for good.
"""

from __future__ import annotations

from functools import cache, wraps
from typing import Any

import torch

from ..memory.tensor import DeviceTensor
from ..pytorch_private import TensorBase, count_of_dispatch_modes

in_modes = count_of_dispatch_modes
_base: Any = TensorBase
_new_parameter: Any = torch.nn.Parameter.__new__


@cache
def put_in_place() -> None:
    """Replace the functions with which subclasses are made; they do the same for other tensors."""
    torch.Tensor.__new__ = staticmethod(_new)  # type: ignore[method-assign]
    torch.Tensor._make_subclass = staticmethod(_make_subclass)  # type: ignore[method-assign]
    torch.nn.Parameter.__new__ = staticmethod(_parameter)  # type: ignore[method-assign]


@wraps(_base.__new__)
def _new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    if issubclass(DeviceTensor, cls) or not args:
        return _base.__new__(cls, *args, **kwargs)
    if isinstance(args[0], DeviceTensor):
        return args[0].as_subclass(cls)
    if not isinstance(args[0], torch.Tensor) and in_modes():  # PyTorch makes a tensor under a mode, and then another
        return _base.__new__(torch.Tensor, *args, **kwargs).as_subclass(cls)
    return _base.__new__(cls, *args, **kwargs)


@wraps(_base._make_subclass)
def _make_subclass(cls: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, DeviceTensor) and cls is not DeviceTensor:
        data = data.host()
    return _base._make_subclass(cls, data, *args, **kwargs)


@wraps(_new_parameter)
def _parameter(cls: Any, data: Any = None, requires_grad: bool = True, **kwargs: Any) -> Any:
    # A plain Parameter stays on the device, as a tensor that PyTorch takes for one.
    if isinstance(data, DeviceTensor) and cls is not torch.nn.Parameter:
        data = data.host()
    return _new_parameter(cls, data, requires_grad, **kwargs)
