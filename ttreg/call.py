"""A call of an aten op as conditions see it: arguments by their schema names, tensors as metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from .meta import Meta, dtype_name, meta_of
from .pytorch_private import OpOverload


@dataclass(frozen=True)
class Call:
    """An op and its arguments by schema name. Defaults are filled in; each tensor is replaced by its `Meta`."""

    op: OpOverload
    arguments: Mapping[str, Any]
    passed: Mapping[str, Any] = field(default_factory=dict)  # the user's own arguments, if promotion changed them

    @classmethod
    def bind(cls, op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> Call:
        """Bind positional and keyword arguments by the op's schema.

        Raises TypeError for too many, unknown or missing arguments.
        """
        return cls.of(op, bind_arguments(op, args, kwargs))

    @classmethod
    def of(cls, op: OpOverload, bound: Mapping[str, Any]) -> Call:
        """The call with these bound arguments, which may be tensors."""
        return cls(op, {name: _as_meta(value) for name, value in bound.items()})

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def tensors(self, *names: str) -> Iterator[tuple[str, Meta]]:
        """Yield name and metadata of each tensor in the named arguments and their lists; without names, in all."""
        for name in names or self.arguments:
            value = self.arguments[name]
            for item in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(item, Meta):
                    yield name, item

    def carried(self, narrow: Mapping[torch.dtype, torch.dtype]) -> Call:
        """The same call with the dtypes that the device carries, for example bfloat16 for float32."""
        return replace(self, arguments={k: _map_dtype(v, narrow) for k, v in self.arguments.items()})

    def __str__(self) -> str:
        return f"{self.op}({', '.join(f'{k}={describe(v)}' for k, v in self.arguments.items())})"


def bind_arguments(op: OpOverload, args: tuple, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by schema name, with defaults filled in and values unchanged.

    Raises TypeError for too many, unknown or missing arguments.
    """
    arguments = op._schema.arguments
    if len(args) > len(arguments):
        raise TypeError(f"{op} takes {len(arguments)} arguments, got {len(args)}")
    bound = {a.name: value for a, value in zip(arguments, args, strict=False)}
    unknown = [name for name in kwargs if name not in {a.name for a in arguments} or name in bound]
    if unknown:
        raise TypeError(f"{op} does not take {', '.join(unknown)} (or takes it twice); it is {op._schema}")
    for a in arguments[len(args) :]:
        if a.name in kwargs:
            bound[a.name] = kwargs[a.name]
        elif a.has_default_value():
            bound[a.name] = a.default_value
        else:
            raise TypeError(f"{op} lacks its argument {a.name!r}; it is {op._schema}")
    return bound


def describe(value: Any) -> str:
    """An argument as a user would write it: tensors as `float32[2, 3]`, dtypes as `float32`."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(describe, value))}]"
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    return str(value)


def tensors_in(result: Any) -> str:
    """The tensors that a call returned, as `describe` writes them; they may be sparse or nested."""
    found = result if isinstance(result, (list, tuple)) else (result,)
    return ", ".join(_brief(item) for item in found if isinstance(item, torch.Tensor))


def _brief(tensor: torch.Tensor) -> str:
    sizes = "nested" if tensor.is_nested else ", ".join(map(str, tensor.shape))
    return f"{dtype_name(tensor.dtype)}[{sizes}]"


def in_dtype(value: Any, dtype: torch.dtype) -> Any:
    """An argument with another dtype of its tensors."""
    if isinstance(value, (list, tuple)):
        return [in_dtype(item, dtype) for item in value]
    return value.like(dtype) if isinstance(value, Meta) else value


def _as_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return meta_of(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_meta, value)) if type(value) in (list, tuple) else list(map(_as_meta, value))
    return value


def _map_dtype(value: Any, narrow: Mapping[torch.dtype, torch.dtype]) -> Any:
    if isinstance(value, Meta):
        return value.like(narrow.get(value.dtype, value.dtype))
    if isinstance(value, (list, tuple)):
        return [_map_dtype(item, narrow) for item in value]
    return value
