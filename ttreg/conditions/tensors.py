"""Conditions on tensors: their dtypes, ranks and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..call import Call, describe
from ..meta import dtype_name
from .condition import Condition, OnArgument

FLOATS = (torch.bfloat16, torch.float32)
INTEGERS = (torch.int32, torch.uint8)
UNSIGNED = (torch.uint16, torch.uint32)
INDICES = (torch.int64, torch.int32)
BOOL = (torch.bool,)
NUMBERS = (*FLOATS, torch.int32)
MOVABLE = (*FLOATS, *INTEGERS, torch.bool)


@dataclass(frozen=True)
class Dtype(Condition):
    """Each tensor in the named arguments has one of the dtypes; None and plain numbers pass."""

    names: str | tuple[str, ...]
    allowed: tuple[torch.dtype, ...]

    def arguments(self) -> tuple[str, ...]:
        return _names(self.names)

    def got(self, call: Call) -> str | None:
        for name, meta in call.tensors(*_names(self.names)):
            if meta.dtype not in self.allowed:
                return dtype_name(meta.dtype) if len(_names(self.names)) == 1 else f"{name} {dtype_name(meta.dtype)}"
        return None

    def __str__(self) -> str:
        return f"{_join(self.names)} in {{{', '.join(map(dtype_name, self.allowed))}}}"


@dataclass(frozen=True)
class ProgramDtype(Dtype):
    """As `Dtype`, but for the program's own dtypes, not the dtypes that carry them: what PyTorch itself takes."""

    sees_program_dtype: ClassVar[bool] = True


@dataclass(frozen=True)
class SameDtype(Condition):
    """All tensors in the named arguments have the same dtype, as PyTorch itself requires."""

    names: tuple[str, ...]
    sees_program_dtype: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return self.names

    def got(self, call: Call) -> str | None:
        dtypes = list(dict.fromkeys(meta.dtype for _, meta in call.tensors(*self.names)))
        return ", ".join(map(dtype_name, dtypes)) if len(dtypes) > 1 else None

    def __str__(self) -> str:
        return f"one dtype in {_join(self.names)}"


@dataclass(frozen=True)
class Rank(OnArgument):
    """Each tensor in the argument has one of the listed ranks (numbers of dimensions)."""

    allowed: tuple[int, ...] | range

    def got(self, call: Call) -> str | None:
        for _, meta in call.tensors(self.name):
            if meta.ndim not in self.allowed:
                return str(meta.ndim)
        return None

    def __str__(self) -> str:
        allowed = self.allowed
        if len(allowed) == 1:
            return f"rank of {self.name} == {allowed[0]}"
        if isinstance(allowed, range):
            return f"{allowed[0]} <= rank of {self.name} <= {allowed[-1]}"
        return f"rank of {self.name} in {{{', '.join(map(str, allowed))}}}"


@dataclass(frozen=True)
class _OnDimension(OnArgument):
    """Base of the conditions on the size of one dimension; a tensor without that dimension passes."""

    dim: int

    def allows(self, size: int) -> bool:
        """Whether the dimension may have this size."""
        raise NotImplementedError

    def got(self, call: Call) -> str | None:
        for _, meta in call.tensors(self.name):
            if -meta.ndim <= self.dim < meta.ndim and not self.allows(meta.shape[self.dim]):
                return str(meta.shape[self.dim])
        return None


@dataclass(frozen=True)
class SizeAtMost(_OnDimension):
    """A dimension of the tensor has at most this many elements; a tensor without that dimension passes."""

    limit: int

    def allows(self, size: int) -> bool:
        return size <= self.limit

    def __str__(self) -> str:
        return f"{self.name}.shape[{self.dim}] <= {self.limit}"


@dataclass(frozen=True)
class MultipleOf(_OnDimension):
    """A dimension of the tensor is a multiple of a number."""

    factor: int

    def allows(self, size: int) -> bool:
        return not size % self.factor

    def __str__(self) -> str:
        return f"{self.name}.shape[{self.dim}] is a multiple of {self.factor}"


@dataclass(frozen=True)
class SameShape(Condition):
    """All tensors in the named arguments have the same shape."""

    names: tuple[str, ...]

    def arguments(self) -> tuple[str, ...]:
        return self.names

    def got(self, call: Call) -> str | None:
        shapes = list(dict.fromkeys(meta.shape for _, meta in call.tensors(*self.names)))
        return " and ".join(describe(list(shape)) for shape in shapes) if len(shapes) > 1 else None

    def __str__(self) -> str:
        return f"one shape in {_join(self.names)}"


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _join(names: str | tuple[str, ...]) -> str:
    return ", ".join(_names(names))
