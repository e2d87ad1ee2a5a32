"""Makes tensors of other subclasses from device tensors: over the memory on the host, with autograd intact.

A device tensor has a type of its own, and PyTorch refuses to change that. Programs also make such tensors from the
results of a block after it ends, so these functions stay replaced.
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
    """Replace the functions that make subclasses. For other tensors they work as before."""
    torch.Tensor.__new__ = staticmethod(_new)  # type: ignore[method-assign]
    torch.Tensor._make_subclass = staticmethod(_make_subclass)  # type: ignore[method-assign]
    torch.nn.Parameter.__new__ = staticmethod(_parameter)  # type: ignore[method-assign]


@wraps(_base.__new__)
def _new(cls: Any, *args: Any, **kwargs: Any) -> Any:
    if issubclass(DeviceTensor, cls) or not args:
        return _base.__new__(cls, *args, **kwargs)
    if isinstance(args[0], DeviceTensor):
        return args[0].as_subclass(cls)
    if not isinstance(args[0], torch.Tensor) and in_modes():  # PyTorch makes two tensors under a mode
        return _base.__new__(torch.Tensor, *args, **kwargs).as_subclass(cls)
    return _base.__new__(cls, *args, **kwargs)


@wraps(_base._make_subclass)
def _make_subclass(cls: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(data, DeviceTensor) and cls is not DeviceTensor:
        data = data.host()
    return _base._make_subclass(cls, data, *args, **kwargs)


@wraps(_new_parameter)
def _parameter(cls: Any, data: Any = None, requires_grad: bool = True, **kwargs: Any) -> Any:
    # A plain Parameter stays on the device: PyTorch accepts a marked device tensor as one.
    if isinstance(data, DeviceTensor) and cls is not torch.nn.Parameter:
        data = data.host()
    return _new_parameter(cls, data, requires_grad, **kwargs)
