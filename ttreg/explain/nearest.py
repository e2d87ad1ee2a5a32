"""Finds the accepted call nearest to a refused one. It changes one argument, or one dtype in all arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import torch

from ..call import Call
from ..conditions import (
    FLOATS,
    AtLeast,
    AtMost,
    Condition,
    Dtype,
    Is,
    MultipleOf,
    OneOf,
    Rank,
    SameDtype,
    SameShape,
    SizeAtMost,
)
from ..meta import Meta, intern, meta_of
from ..notation import ArgumentsError, write, write_call
from ..plan import Plan
from ..registry import Entry

_TRIED = 200  # calls

Change = dict[str, Any]
PlanOf = Callable[[Any, tuple, dict[str, Any]], tuple[Plan, dict[str, Any]]]  # from an op and its arguments


@dataclass(frozen=True)
class Nearest:
    """The accepted call, and what differs from the refused one: one argument, or one dtype in all arguments."""

    change: dict[str, str]  # by argument
    call: str


def nearest(plan_of: PlanOf, plan: Plan, arguments: dict[str, Any]) -> Nearest | None:
    """The first accepted call among those that the entry's conditions suggest, the refusing one's first."""
    assert plan.entry is not None
    if plan.entry.kind != "device":
        return None
    tried: set[str] = set()
    for change in islice(_changes(plan, plan.entry, arguments), _TRIED):
        call = write_call({**arguments, **change})
        if call in tried:
            continue
        tried.add(call)
        try:
            changed, as_arrived = plan_of(plan.op, (), {**arguments, **change})
        except ArgumentsError:
            continue
        if changed.refusal is None:
            return Nearest(change={k: write(v) for k, v in change.items()}, call=write_call(as_arrived))
    return None


def _changes(plan: Plan, entry: Entry, arguments: dict[str, Any]) -> Iterator[Change]:
    refused = [c for c in entry.conditions if plan.refusal is not None and str(c) == plan.refusal.condition]
    for condition in [*refused, *(c for c in entry.conditions if c not in refused)]:
        yield from _of_condition(condition, arguments)
    for name, value in arguments.items():
        if isinstance(value, Meta):
            yield {name: meta_of(torch.empty(value.shape, dtype=value.dtype, device="meta"))}
            yield from ({name: value.like(dtype)} for dtype in FLOATS)
    yield from _of_samples(entry, arguments)


def _of_condition(condition: Condition, arguments: dict[str, Any]) -> Iterator[Change]:
    if isinstance(condition, (Dtype, SameDtype)):
        names = [name for name in condition.arguments() if name in arguments]
        of_names = [dtype for name in names for dtype in _dtypes(arguments[name])]
        yield from _of_dtypes(names, condition.allowed if isinstance(condition, Dtype) else of_names, arguments)
    tensors = [v for name in condition.arguments() if isinstance(v := arguments.get(name), Meta)]
    for name in condition.arguments():
        value = arguments.get(name)
        if isinstance(condition, Is):
            yield {name: _like_given(value, condition.value)}
        elif isinstance(condition, OneOf):
            yield from ({name: _like_given(value, allowed)} for allowed in condition.values)
        elif isinstance(condition, (AtLeast, AtMost)) and isinstance(value, (list, tuple)):
            nearer = max if isinstance(condition, AtLeast) else min
            yield {name: [nearer(number, type(number)(condition.limit)) for number in value]}
        elif isinstance(condition, (AtLeast, AtMost)) and isinstance(value, (int, float)):
            yield {name: type(value)(condition.limit)}
        elif isinstance(value, Meta):
            yield from ({name: _reshaped(value, shape)} for shape in _shapes(condition, value, tensors))


def _of_dtypes(names: Sequence[str], allowed: Sequence[torch.dtype], arguments: dict[str, Any]) -> Iterator[Change]:
    for name in names:
        for given in _dtypes(arguments[name]):
            yield from ({name: _recast(arguments[name], given, dtype)} for dtype in _by_distance(given, allowed))
    for given in dict.fromkeys(dtype for name in names for dtype in _dtypes(arguments[name])):
        for dtype in _by_distance(given, allowed):
            yield {n: _recast(v, given, dtype) for n, v in arguments.items() if given in _dtypes(v)}


def _dtypes(value: Any) -> list[torch.dtype]:
    """The dtypes of the tensors in an argument."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return list(dict.fromkeys(item.dtype for item in items if isinstance(item, Meta)))


def _recast(value: Any, given: torch.dtype, dtype: torch.dtype) -> Any:
    """The argument with the tensors of one dtype in another."""
    if isinstance(value, (list, tuple)):
        return [_recast(item, given, dtype) for item in value]
    return value.like(dtype) if isinstance(value, Meta) and value.dtype == given else value


def _by_distance(given: torch.dtype, allowed: Iterable[torch.dtype]) -> list[torch.dtype]:
    """Dtypes of the same kind come first, then those of the same size."""

    def distance(dtype: torch.dtype) -> tuple[bool, int]:
        return dtype.is_floating_point != given.is_floating_point, abs(dtype.itemsize - given.itemsize)

    return sorted((dtype for dtype in allowed if dtype != given), key=distance)


def _shapes(condition: Condition, meta: Meta, others: Iterable[Meta]) -> Iterator[tuple[int, ...]]:
    shape = meta.shape
    if isinstance(condition, Rank):
        for rank in sorted(condition.allowed, key=lambda rank: abs(rank - meta.ndim)):
            if rank >= meta.ndim:
                yield (1,) * (rank - meta.ndim) + shape
            elif rank:
                yield (prod(shape[: meta.ndim - rank + 1]), *shape[meta.ndim - rank + 1 :])
    elif isinstance(condition, SameShape):
        yield from (other.shape for other in others)
    elif isinstance(condition, (SizeAtMost, MultipleOf)) and -meta.ndim <= condition.dim < meta.ndim:
        size = shape[condition.dim]
        if isinstance(condition, SizeAtMost):
            sizes = [min(size, condition.limit)]
        else:
            sizes = [-(-size // condition.factor) * condition.factor]
        for new in sizes:
            changed = list(shape)
            changed[condition.dim] = new
            yield tuple(changed)


def _of_samples(entry: Entry, arguments: dict[str, Any]) -> Iterator[Change]:
    """Numbers, strings and other plain values from the op's defaults and the entry's samples."""
    defaults = {a.name: a.default_value for a in entry.op._schema.arguments if a.has_default_value()}
    for given in [defaults, *(Call.bind(entry.op, s.args, s.kwargs).arguments for s in entry.samples())]:
        for name, value in given.items():
            if name in arguments and not _dtypes(arguments[name]) and not _dtypes(value):
                yield {name: value}


def _like_given(given: Any, wanted: Any) -> Any:
    """The value that a condition names, for each item where the call has a list."""
    if isinstance(given, (list, tuple)) and not isinstance(wanted, (list, tuple)):
        return [wanted] * len(given)
    return wanted


def _reshaped(meta: Meta, shape: tuple[int, ...]) -> Meta:
    return intern(meta.dtype, shape, torch.empty(shape, device="meta").stride())
