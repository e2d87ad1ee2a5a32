"""The vocabulary in which an entry says what the device can do: data that prints, refuses, and reads no values.

Every condition has the same three views: `str(condition)` for people, `refuse(call)` for dispatch, and the `Refusal`
that it returns for the report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from .call import Call, describe
from .meta import Meta, dtype_name
from .refusal import Refusal, unjudged

FLOATS = (torch.bfloat16, torch.float32)
INTEGERS = (torch.int32, torch.uint8)
UNSIGNED = (torch.uint16, torch.uint32)
INDICES = (torch.int64, torch.int32)
BOOL = (torch.bool,)
NUMBERS = (*FLOATS, torch.int32)
MOVABLE = (*FLOATS, *INTEGERS, torch.bool)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Base of the vocabulary. A subclass names its arguments and says what it `got` when it refuses."""

    because: str = ""

    # Whether it is about the program's own dtypes; other conditions see those that the device carries.
    of_program: ClassVar[bool] = False

    def arguments(self) -> tuple[str, ...]:
        """The schema names that the condition reads."""
        return ()

    def got(self, call: Call) -> str | None:
        """What a refused call has instead, or None if the call is accepted."""
        raise NotImplementedError

    def refuse(self, call: Call) -> Refusal | None:
        """The refusal of `call`, or None."""
        try:
            got = self.got(call)
        except Exception as error:
            return unjudged(error, str(self))
        return None if got is None else Refusal(str(self), got, self.because)


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
    """As `Dtype`, of the program's own dtypes: what PyTorch itself takes, in whichever dtype the device carries it."""

    of_program: ClassVar[bool] = True


@dataclass(frozen=True)
class SameDtype(Condition):
    """All tensors in the named arguments have one dtype, as PyTorch itself asks for."""

    names: tuple[str, ...]
    of_program: ClassVar[bool] = True

    def arguments(self) -> tuple[str, ...]:
        return self.names

    def got(self, call: Call) -> str | None:
        dtypes = list(dict.fromkeys(meta.dtype for _, meta in call.tensors(*self.names)))
        return ", ".join(map(dtype_name, dtypes)) if len(dtypes) > 1 else None

    def __str__(self) -> str:
        return f"one dtype in {_join(self.names)}"


@dataclass(frozen=True)
class Rank(Condition):
    """Each tensor in the argument has one of the numbers of dimensions."""

    name: str
    allowed: tuple[int, ...] | range

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

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
class Is(Condition):
    """The argument equals the value; `[2, 2]` equals 2 throughout, as aten's own expansion has it."""

    name: str
    value: Any

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        value = call[self.name]
        return None if _equal(value, self.value) else describe(value)

    def __str__(self) -> str:
        return f"{self.name} == {describe(self.value)}"


@dataclass(frozen=True)
class OneOf(Condition):
    """The argument equals one of the values."""

    name: str
    values: tuple[Any, ...]

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        value = call[self.name]
        return None if any(_equal(value, allowed) for allowed in self.values) else describe(value)

    def __str__(self) -> str:
        return f"{self.name} in {{{', '.join(map(describe, self.values))}}}"


@dataclass(frozen=True)
class Given(Condition):
    """The optional argument is not None."""

    name: str

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        return "None" if call[self.name] is None else None

    def __str__(self) -> str:
        return f"{self.name} is given"


@dataclass(frozen=True)
class AtMost(Condition):
    """The argument, a number or a list of numbers, is nowhere larger than the limit."""

    name: str
    limit: float

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        return describe(call[self.name]) if any(n > self.limit for n in _numbers(call, self.name)) else None

    def __str__(self) -> str:
        return f"{self.name} <= {self.limit}"


@dataclass(frozen=True)
class AtLeast(Condition):
    """The argument, a number or a list of numbers, is nowhere smaller than the limit."""

    name: str
    limit: float

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        return None if all(n >= self.limit for n in _numbers(call, self.name)) else describe(call[self.name])

    def __str__(self) -> str:
        return f"{self.name} >= {self.limit}"


@dataclass(frozen=True)
class SizeAtMost(Condition):
    """A dimension of the tensor has at most this many elements; a tensor without that dimension passes."""

    name: str
    dim: int
    limit: int

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        for _, meta in call.tensors(self.name):
            if -meta.ndim <= self.dim < meta.ndim and meta.shape[self.dim] > self.limit:
                return str(meta.shape[self.dim])
        return None

    def __str__(self) -> str:
        return f"{self.name}.shape[{self.dim}] <= {self.limit}"


@dataclass(frozen=True)
class MultipleOf(Condition):
    """A dimension of the tensor is a multiple of a number."""

    name: str
    dim: int
    factor: int

    def arguments(self) -> tuple[str, ...]:
        return (self.name,)

    def got(self, call: Call) -> str | None:
        for _, meta in call.tensors(self.name):
            if -meta.ndim <= self.dim < meta.ndim and meta.shape[self.dim] % self.factor:
                return str(meta.shape[self.dim])
        return None

    def __str__(self) -> str:
        return f"{self.name}.shape[{self.dim}] is a multiple of {self.factor}"


@dataclass(frozen=True)
class SameShape(Condition):
    """All tensors in the named arguments have one shape."""

    names: tuple[str, ...]

    def arguments(self) -> tuple[str, ...]:
        return self.names

    def got(self, call: Call) -> str | None:
        shapes = list(dict.fromkeys(meta.shape for _, meta in call.tensors(*self.names)))
        return " and ".join(describe(list(shape)) for shape in shapes) if len(shapes) > 1 else None

    def __str__(self) -> str:
        return f"one shape in {_join(self.names)}"


@dataclass(frozen=True)
class Never(Condition):
    """Refuses every call."""

    text: str = "runs on the host"

    def got(self, call: Call) -> str | None:
        return ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Check(Condition):
    """What the vocabulary cannot say: a text, and a named function that returns what it got if it refuses, or None."""

    text: str
    function: Callable[[Call], str | None]

    def got(self, call: Call) -> str | None:
        return self.function(call)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class ProgramCheck(Check):
    """As `Check`, of the program's own dtypes, in whichever the device carries them."""

    of_program: ClassVar[bool] = True


def _numbers(call: Call, name: str) -> list[Any]:
    """The number that an argument is, or those of a list; None is none."""
    value = call[name]
    return [number for number in (value if isinstance(value, (list, tuple)) else (value,)) if number is not None]


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _join(names: str | tuple[str, ...]) -> str:
    return ", ".join(_names(names))


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, Meta):
        return False
    if isinstance(value, (list, tuple)) and not isinstance(wanted, (list, tuple)):
        return all(_equal(item, wanted) for item in value)
    if isinstance(value, (list, tuple)):
        return list(value) == list(wanted)
    # True == 1 in Python, but not to someone who reads a condition; 1.0 == 1 is meant.
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
