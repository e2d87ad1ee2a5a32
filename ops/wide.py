"""Carries uint8 data as int32 while a lowering moves it, because ttnn's tilize takes no uint8."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def moves_uint8(lowering: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering, given its uint8 tensors as int32; what it then returns is uint8 again."""

    @functools.wraps(lowering)
    def moved(tt: Any, *tensors: Any, **arguments: Any) -> Any:
        found = []

        def widen(value: Any) -> Any:
            if isinstance(value, list):
                return [widen(item) for item in value]
            if getattr(value, "dtype", None) != tt.uint8:
                return value
            found.append(value)
            return tt.typecast(value, tt.int32)

        arguments = {name: widen(value) for name, value in arguments.items()}
        result = lowering(tt, *map(widen, tensors), **arguments)
        if not found:
            return result
        if isinstance(result, list):
            return [tt.typecast(item, tt.uint8) for item in result]
        return tt.typecast(result, tt.uint8)

    return moved
