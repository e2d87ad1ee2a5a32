"""Runs a program again under a minimal mode that computes nothing: the cost of its Python, and of any mode."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..meta import Meta, meta_of
from ..pytorch_private import TorchDispatchMode
from .floor import Wrapped

_NO_MORE: tuple[Any, Any] = (None, None)

# Stands for an output that is the op's first argument, as of in-place ops.
_FIRST_ARGUMENT = object()


class Rehearsal(TorchDispatchMode):
    """Records what each call of a program returns."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if _several(result):
            self.results.append((func, type(result)(_described(value, args) for value in result)))
        else:
            self.results.append((func, _described(result, args)))
        return result


def _several(result: Any) -> bool:
    return type(result) in (list, tuple)


def _described(value: Any, args: tuple) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return _FIRST_ARGUMENT if args and value is args[0] else meta_of(value)


class Performance(TorchDispatchMode):
    """Takes values out of wrappers, computes nothing, and wraps what the rehearsal returned at this place.

    Raises RuntimeError if the program makes a different call than in the rehearsal.
    """

    def __init__(self, rehearsal: Rehearsal):
        super().__init__()
        self._results: Iterator[tuple[Any, Any]] = iter(rehearsal.results)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        values = []
        for argument in args:
            for tensor in argument if type(argument) in (list, tuple) else (argument,):
                values.append(tensor.value if type(tensor) is Wrapped else tensor)
        rehearsed, result = next(self._results, _NO_MORE)
        if rehearsed is not func:
            raise RuntimeError(f"{func} was {rehearsed} in the rehearsal")
        if type(result) is Meta:
            return Wrapped.around(None, result)
        if _several(result):
            return type(result)(Wrapped.around(None, r) if type(r) is Meta else r for r in result)
        return args[0] if result is _FIRST_ARGUMENT else result
