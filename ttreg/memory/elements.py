"""Finds where a view's elements lie in the dimensions of a tensor that covers the whole storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..meta import Meta


@dataclass(frozen=True, eq=False)
class Part:
    """A dimension of the view, or a part of one: a run of elements with one stride."""

    size: int
    stride: int


@dataclass(frozen=True)
class Dim:
    """A dimension of the covering tensor: which of its indices the view takes, and as which parts, outermost first.

    `stride` is the dimension's stride in the storage. `step` is the step between the indices that the view takes.
    """

    size: int
    stride: int
    start: int = 0
    step: int = 1
    count: int = 1
    parts: tuple[Part, ...] = field(default=())


def placed(source: Meta, target: Meta) -> tuple[list[Dim], list[Part]] | None:
    """The dimensions of `source`, some of them split, and the parts of `target` in the order of its elements.

    None if the view cannot be described so: if its elements overlap, say.
    """
    dims = [
        Dim(size, stride, start=target.offset // stride % size if size > 1 else 0)
        for size, stride in zip(source.shape, source.stride, strict=True)
    ]
    if target.offset >= source.numel:
        return None
    ordered: list[Part] = []
    for size, stride in zip(target.shape, target.stride, strict=True):
        if size > 1 and stride:
            parts = _parts(dims, size, stride)
            if parts is None:
                return None
            ordered.extend(parts)
    taken: list[Dim] = []
    for dim in dims:
        found = _taken(dim, [p for p in ordered if dim.stride <= p.stride < dim.stride * dim.size])
        if found is None:
            return None
        taken.extend(found)
    return taken, ordered


def _parts(dims: Sequence[Dim], size: int, stride: int) -> list[Part] | None:
    """The parts of one view dimension, outermost first: one for each source dimension that it runs through."""
    parts: list[Part] = []
    while size > 1:
        dim = next((d for d in dims if d.stride <= stride < d.stride * d.size), None)
        if dim is None or stride % dim.stride:
            return None
        step = stride // dim.stride
        if dim.start + (size - 1) * step < dim.size:
            return [Part(size, stride), *parts]
        inside = dim.size // step
        if dim.size % step or size % inside or dim.start >= step:
            return None
        parts.insert(0, Part(inside, stride))
        size, stride = size // inside, stride * inside
    return parts


def _taken(dim: Dim, parts: list[Part]) -> list[Dim] | None:
    """The dimension with the parts that the view takes from it; it is split where the parts leave gaps."""
    if not parts:
        return [dim]
    parts = sorted(parts, key=lambda part: -part.stride)
    for place in range(len(parts) - 1):
        outer, inner = parts[place], parts[place + 1]
        if outer.stride < inner.stride * inner.size:
            return None  # they overlap
        if outer.stride > inner.stride * inner.size:
            apart, left = outer.stride // dim.stride, outer.stride % dim.stride
            if left or dim.size % apart:
                return None
            first = replace(dim, size=dim.size // apart, stride=outer.stride, start=dim.start // apart)
            second = replace(dim, size=apart, start=dim.start % apart)
            return _joined(_taken(first, parts[: place + 1]), _taken(second, parts[place + 1 :]))
    step = parts[-1].stride // dim.stride
    count = 1
    for part in parts:
        count *= part.size
    if dim.start + (count - 1) * step >= dim.size:
        return None
    return [replace(dim, step=step, count=count, parts=tuple(parts))]


def _joined(first: list[Dim] | None, second: list[Dim] | None) -> list[Dim] | None:
    return None if first is None or second is None else first + second
