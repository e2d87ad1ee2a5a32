"""Carries uint8 and uint16 data as int32 while a lowering moves it: ttnn tilizes no uint8 and reshapes neither."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def moves_narrow(lowering: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering, given its uint8 or uint16 tensors as int32; what it then returns has their dtype again."""

    @functools.wraps(lowering)
    def moved(tt: Any, *tensors: Any, **arguments: Any) -> Any:
        if not any(_is_narrow(tt, value) for value in (*tensors, *arguments.values())):
            return lowering(tt, *tensors, **arguments)
        found = []

        def widen(value: Any) -> Any:
            if isinstance(value, list):
                return [widen(item) for item in value]
            if not _is_narrow(tt, value):
                return value
            found.append(value.dtype)
            return tt.typecast(value, tt.int32)

        arguments = {name: widen(value) for name, value in arguments.items()}
        result = lowering(tt, *map(widen, tensors), **arguments)
        if isinstance(result, list):
            return [tt.typecast(item, found[0]) for item in result]
        return tt.typecast(result, found[0])

    return moved


def _is_narrow(tt: Any, value: Any) -> bool:
    """Whether a lowering's argument is a tensor that is carried so, or a list of such tensors (and Nones)."""
    if type(value) is list and value:
        value = value[0] if value[0] is not None else next((item for item in value if item is not None), None)
    return getattr(value, "dtype", None) in (tt.uint8, tt.uint16)
