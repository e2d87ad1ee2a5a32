"""Other values for an argument of a call, most of them wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch._ops import OpOverload

from ttreg.call import bind_arguments, describe
from ttreg.meta import dtype_name, meta_of

INTS = (-100, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 100, 1 << 40, True, 2.5, None)
NUMBERS = (0, -1, 3, 1 << 40, True, 2.5, -0.5, 1e30, 1e300, float("nan"), float("inf"), -float("inf"), 1j, None)
SIZES = (-100, -1, 0, 1, 2, 7, 100, 1 << 40)
DTYPES = (
    *(torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.complex64),
    *(torch.int64, torch.int32, torch.uint8, torch.bool),
)
FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last)


class Variation:
    """A call of which one argument is another: which, and what it is."""

    def __init__(self, name: str, what: str, arguments: dict[str, Any]):
        self.name, self.what, self.arguments = name, what, arguments

    def __str__(self) -> str:
        return f"{self.name}: {self.what}"


def variations(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Iterator[Variation]:
    """The call with one argument changed at a time."""
    bound = bind_arguments(op, args, kwargs)
    for argument in op._schema.arguments:
        for what, value in others(str(argument.real_type), bound[argument.name]):
            yield Variation(argument.name, what, {**bound, argument.name: value})


def others(kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What to give in place of the value, where the schema says `kind`."""
    if isinstance(value, torch.Tensor):
        if "Optional" in kind:
            yield "None", None
        yield from _tensors(value)
    elif isinstance(value, (list, tuple)):
        yield from _lists(kind, list(value))
    elif "Tensor" in kind:  # an optional one, of which nothing says what it should be like
        yield from ()
    else:
        for other in _of_kind(kind):
            if other is not value:
                yield describe(other), other


def _of_kind(kind: str) -> tuple:
    if "ScalarType" in kind or "dtype" in kind:
        return (*DTYPES, None)
    if "MemoryFormat" in kind:
        return (*FORMATS, None)
    if "bool" in kind:
        return (True, False, None)
    if "str" in kind:
        return ("", "tanh", "floor", "nonsense")
    if "number" in kind or "Scalar" in kind or "float" in kind:
        return NUMBERS
    if "int" in kind or "Int" in kind:
        return INTS
    return ()


def _lists(kind: str, values: list[Any]) -> Iterator[tuple[str, Any]]:
    yield "no element", []
    if not values:
        return
    yield "an element less", values[:-1]
    yield "the last element twice", [*values, values[-1]]
    yield "the first element only", values[:1]
    for place in sorted({0, len(values) - 1}):
        if isinstance(values[place], torch.Tensor):
            changed: Any = _tensors(values[place])
        elif isinstance(values[place], bool):
            changed = [(str(not values[place]), not values[place])]
        elif isinstance(values[place], float):
            changed = [(describe(number), number) for number in NUMBERS if not isinstance(number, complex)]
        else:
            changed = [(str(size), size) for size in SIZES]
        for what, value in changed:
            yield f"[{place}] {what}", [*values[:place], value, *values[place + 1 :]]


def _tensors(tensor: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    for name, change in CHANGES.items():
        try:
            changed = change(tensor)
        except (RuntimeError, IndexError):  # not for that shape or dtype
            continue
        if meta_of(changed) is not meta_of(tensor) or name in VALUES:
            yield name, changed
    for dtype in DTYPES:
        if dtype is not tensor.dtype:
            yield dtype_name(dtype), tensor.to(dtype)


def _padded(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.cat([tensor, tensor.narrow(dim, 0, 1)], dim)


def _filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: torch.full_like(t, value)


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "empty": lambda t: t.new_zeros(0),
    "none of the first dimension": lambda t: t[:0].clone(),
    "none of the last dimension": lambda t: t[..., :0].clone(),
    "a number": lambda t: t.flatten()[0].clone(),
    "a vector": lambda t: t.flatten().clone(),
    "a dimension more": lambda t: t[None].clone(),
    "a dimension more at the end": lambda t: t[..., None].clone(),
    "a dimension less": lambda t: t[0].clone(),
    "a dimension less at the end": lambda t: t[..., 0].clone(),
    "transposed": lambda t: t.transpose(0, -1),
    "transposed in memory": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "expanded": lambda t: t[:1].expand_as(t),
    "one of the first dimension": lambda t: t[:1].clone(),
    "one of the last dimension": lambda t: t[..., :1].clone(),
    "one of each dimension": lambda t: t.flatten()[:1].reshape([1] * t.ndim).clone(),
    "one more of the first dimension": lambda t: _padded(t, 0),
    "one more of the last dimension": lambda t: _padded(t, -1),
    "one less of the first dimension": lambda t: t[:-1].clone(),
    "one less of the last dimension": lambda t: t[..., :-1].clone(),
    "of -1": _filled(-1),
    "of 100": _filled(100),
    "of 0": _filled(0),
}

# The changes of what a tensor holds alone.
VALUES = ("of -1", "of 100", "of 0")
