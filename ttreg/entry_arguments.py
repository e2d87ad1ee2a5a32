"""Whether what `lower`, `cpu_only` and `decomposed` are given is of the kinds that entries are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from .conditions import Condition
from .errors import RegistryError
from .room import InRoom
from .steps import Steps

_OBJECTS = {"in_room": InRoom, "steps": Steps}
_FUNCTIONS = ("outputs", "number", "apart", "into")
_TEXTS = ("chip", "because")


def check_arguments(op: Any, samples: Any, when: Any = (), **others: Any) -> None:
    """Raise RegistryError for the first argument of another kind, and say what it should be."""
    if not callable(samples):
        raise _wrong(op, "samples", samples, "a function that yields ttreg.samples.Sample")
    if isinstance(when, str) or not isinstance(when, Iterable):
        raise _wrong(op, "when", when, "a list of conditions")
    for condition in when:
        _check_condition(op, condition)
    for name, value in others.items():
        if name in _TEXTS and not isinstance(value, str):
            raise _wrong(op, name, value, "a text")
        if name in _FUNCTIONS and value is not None and not callable(value):
            raise _wrong(op, name, value, "a function, or None")
        if name in _OBJECTS and value is not None and not isinstance(value, _OBJECTS[name]):
            raise _wrong(op, name, value, f"a {_OBJECTS[name].__module__}.{_OBJECTS[name].__name__}, or None")


def check_function(op: Any, function: Any) -> None:
    """Raise RegistryError for a lowering that is no function."""
    if not inspect.isfunction(function):
        raise _wrong(op, "the lowering", function, "a function that takes `tt` first")


def _check_condition(op: Any, condition: Any) -> None:
    if not isinstance(condition, Condition):
        raise _wrong(op, "a condition", condition, "one of ttreg.conditions")
    try:
        tuple(condition.arguments())
    except Exception as error:  # what it is made of is as wrong as its author made it
        raise RegistryError(
            f"a condition of {op} does not say its arguments: {type(error).__name__}: {error}"
        ) from error


def _wrong(op: Any, what: str, value: Any, expected: str) -> RegistryError:
    return RegistryError(f"{what} of {op} is {value!r:.80}; expected {expected}")
