"""Conditions on arguments that are not tensors: numbers, lists of numbers, flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..call import Call, describe
from ..meta import Meta
from .condition import OnArgument


@dataclass(frozen=True)
class Is(OnArgument):
    """The argument equals the value. A list `[2, 2]` equals 2, since aten expands numbers to lists so."""

    value: Any

    def got(self, call: Call) -> str | None:
        value = call[self.name]
        return None if _equal(value, self.value) else describe(value)

    def __str__(self) -> str:
        return f"{self.name} == {describe(self.value)}"


@dataclass(frozen=True)
class OneOf(OnArgument):
    """The argument equals one of the values."""

    values: tuple[Any, ...]

    def got(self, call: Call) -> str | None:
        value = call[self.name]
        return None if any(_equal(value, allowed) for allowed in self.values) else describe(value)

    def __str__(self) -> str:
        return f"{self.name} in {{{', '.join(map(describe, self.values))}}}"


@dataclass(frozen=True)
class Given(OnArgument):
    """The optional argument is not None."""

    def got(self, call: Call) -> str | None:
        return "None" if call[self.name] is None else None

    def __str__(self) -> str:
        return f"{self.name} is given"


@dataclass(frozen=True)
class AtMost(OnArgument):
    """No number in the argument, a number or a list of numbers, is larger than the limit."""

    limit: float

    def got(self, call: Call) -> str | None:
        return describe(call[self.name]) if any(n > self.limit for n in _numbers(call, self.name)) else None

    def __str__(self) -> str:
        return f"{self.name} <= {self.limit}"


@dataclass(frozen=True)
class AtLeast(OnArgument):
    """No number in the argument, a number or a list of numbers, is smaller than the limit."""

    limit: float

    def got(self, call: Call) -> str | None:
        return None if all(n >= self.limit for n in _numbers(call, self.name)) else describe(call[self.name])

    def __str__(self) -> str:
        return f"{self.name} >= {self.limit}"


def _numbers(call: Call, name: str) -> list[Any]:
    """The argument's numbers: itself, or the items of its list. None gives no numbers."""
    value = call[name]
    return [number for number in (value if isinstance(value, (list, tuple)) else (value,)) if number is not None]


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, Meta):
        return False
    if isinstance(value, (list, tuple)) and not isinstance(wanted, (list, tuple)):
        return all(_equal(item, wanted) for item in value)
    if isinstance(value, (list, tuple)):
        return list(value) == list(wanted)
    # In Python True == 1, but a reader of the condition does not expect that. 1.0 == 1 is intended.
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)
