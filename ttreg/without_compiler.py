"""Stands in for PyTorch's compiler and sympy where its shape functions import them, and only handle numbers."""

from __future__ import annotations

import functools
import importlib
import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_SYMBOLS = "torch.fx.experimental.symbolic_shapes"


class _StandIn(ModuleType):
    """Stands for a module that is slow to import, until a name is wanted that it does not have."""

    def __init__(self, name: str, has: dict[str, Any]):
        super().__init__(name)
        vars(self).update(has)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and (name != "__path__" or self.__name__ not in ("sympy", "torch._dynamo")):
            raise AttributeError(name)  # a package is asked for its path when a module of it is imported
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def _remove_stand_ins() -> None:
    for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
        del sys.modules[name]
        vars(sys.modules[name.rpartition(".")[0] or "torch"]).pop(name.rpartition(".")[2], None)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Let shape functions of PyTorch run without its compiler and sympy, which some import and none needs for numbers.

    Importing them takes longer than all of `ttreg why`. They are imported nevertheless if more of them is needed.
    """
    if not sys.modules.keys().isdisjoint(("torch._dynamo", "sympy", _SYMBOLS)):
        yield
        return
    undone: list[Any] = []

    def disable(function: Any, recursive: bool = True, wrapping: bool = True) -> Any:
        undone.append(function)
        return function

    def truth(value: bool) -> bool:
        if not isinstance(value, bool):
            raise AssertionError(f"expected a bool, got {value!r}")
        return value

    def equal(one: Any, other: Any) -> bool:
        if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
            return len(one) == len(other) and all(map(equal, one, other))
        return bool(one == other)

    names = ("expect_true", "guard_or_false", "guard_or_true", "guard_size_oblivious", "statically_known_true")
    of_numbers: dict[str, Any] = {
        **dict.fromkeys(names, truth),
        "sym_and": lambda *values: functools.reduce(operator.and_, values),
        "sym_or": lambda *values: functools.reduce(operator.or_, values),
        "sym_eq": equal,
        "has_guarding_hint": lambda value: True,
        "guarding_hint_or_throw": lambda value: value,
        "free_unbacked_symbols": lambda value: set(),
        "is_nested_int": lambda value: False,
    }
    has: dict[str, dict[str, Any]] = {
        "torch._dynamo": {"disable": disable},
        "sympy": {"Basic": type("Basic", (), {})},
        "torch.utils._sympy.functions": {"Max": max},
        _SYMBOLS: of_numbers,
    }
    for name in has:
        importlib.import_module(name.rpartition(".")[0] or "torch")  # which is where it is put
        sys.modules[name] = _StandIn(name, has[name])
    try:
        yield
    finally:
        _remove_stand_ins()
        for function in undone:  # PyTorch keeps there what was made of it
            vars(function).pop("__dynamo_disable", None)
