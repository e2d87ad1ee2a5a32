"""The minimal cost of Python modes per call: an empty mode, and one that unwraps inputs and wraps an output."""

from __future__ import annotations

from typing import Any

import torch

from ..meta import Meta, meta_of
from ..pytorch_private import TorchDispatchMode, disabled_torch_function, tree_leaves


class EmptyMode(TorchDispatchMode):
    """Does nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Wrapped(torch.Tensor):
    """A wrapper subclass that holds one value."""

    __torch_function__ = disabled_torch_function
    value: Any

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise NotImplementedError(f"{func} outside of the mode")

    @staticmethod
    def around(value: Any, meta: Meta) -> Any:
        """A wrapper with that metadata."""
        wrapped: Any = torch.Tensor._make_wrapper_subclass(Wrapped, meta.shape, strides=meta.stride, dtype=meta.dtype)
        wrapped.value = value
        return wrapped


class WrapperMode(TorchDispatchMode):
    """The floor for any device written in Python: unwraps values, and wraps an output that exists already."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: dict[Any, tuple[Any, list[Meta], bool]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = []
        for argument in args:
            for tensor in argument if type(argument) in (list, tuple) else (argument,):
                values.append(tensor.value if type(tensor) is Wrapped else tensor)
        value, metas, several = self.ready[func]
        if several:
            return tuple(Wrapped.around(value, meta) for meta in metas)
        return Wrapped.around(value, metas[0])


class Outputs(TorchDispatchMode):
    """Records what each op of a call returns, for a `WrapperMode` to return again."""

    def __init__(self, of: WrapperMode):
        super().__init__()
        self._ready = of.ready

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._ready[func] = object(), [meta_of(t) for t in tree_leaves(result)], isinstance(result, tuple)
        return result
