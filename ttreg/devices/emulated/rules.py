"""The dtype and layout of an operation's results in ttnn, where they differ from the first tensor's."""

from __future__ import annotations

from typing import Any

import ttnn

from .tensor import EmulatedTensor

_ROW_MAJOR_RESULTS = frozenset(("argmax",))
_CREATED = frozenset(("zeros", "ones", "full", "arange", "rand", "randn"))  # they take no tensor


def result_dtypes(name: str, args: Any, kwargs: Any, count: int) -> list[Any]:
    """The ttnn dtypes of the results: the one asked for, else that of the first tensor, but for a few operations."""
    if name in ("typecast", "bitcast"):
        asked = args[1] if len(args) > 1 else kwargs["dtype"]
        return [asked]
    if name in _CREATED:
        return [kwargs.get("dtype") or ttnn.bfloat16]
    first = first_tensor(args, kwargs).dtype
    if name == "argmax":
        return [ttnn.uint32]
    if name == "topk":
        return [first, _place_dtype(args[0], args[2] if len(args) > 2 else kwargs.get("dim", -1))]
    if name == "sort":
        return [first, _place_dtype(args[0], kwargs.get("dim", -1))]
    if name == "embedding":
        weight = args[1] if len(args) > 1 else kwargs["weight"]
        return [kwargs.get("dtype") or weight.dtype]
    if name == "where":
        chosen = next(v for v in (*args[1:], *kwargs.values()) if isinstance(v, EmulatedTensor))
        return [kwargs.get("dtype") or chosen.dtype]
    return [kwargs.get("dtype") or kwargs.get("output_dtype") or first] * count


def result_layout(name: str, args: Any, kwargs: Any) -> Any:
    """The layout of the results: the one asked for, else that of the first tensor."""
    if name == "to_layout":
        return args[1] if len(args) > 1 else kwargs["layout"]
    if kwargs.get("layout") is not None:
        return kwargs["layout"]
    if name in _CREATED:
        return ttnn.ROW_MAJOR_LAYOUT
    if name in _ROW_MAJOR_RESULTS:
        return ttnn.ROW_MAJOR_LAYOUT
    if name == "max_pool2d":
        return kwargs.get("output_layout") or ttnn.ROW_MAJOR_LAYOUT
    if name in ("conv2d", "conv_transpose2d"):
        return ttnn.TILE_LAYOUT
    return first_tensor(args, kwargs).layout


def _place_dtype(values: EmulatedTensor, dim: int) -> Any:
    """Indices have 32 bits for float32, or if the dimension, with padding, has more than 65536 elements."""
    wide = values.dtype == ttnn.float32 or (values.shape and values.shape[dim] > 2**16)
    return ttnn.uint32 if wide else ttnn.uint16


def first_tensor(args: Any, kwargs: Any) -> EmulatedTensor:
    """The first tensor among the arguments, also inside a list."""
    for value in (*args, *kwargs.values()):
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, EmulatedTensor):
                return item
    raise TypeError("the call has no tensor")
