"""Which dimensions an op keeps apart, so that it can run on tensors with more rows than the program's own have.

An op keeps a dimension apart if what it gives at one place along it depends only on what its arguments have at that
place: linear layers keep rows apart, softmax all dimensions but one. Then spare places may hold anything. Others sum or
search along the dimension; if they do so with a known neutral element, spare places are filled with that first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .call import Call
from .meta import Meta

# One for each dimension; None for a dimension that has to be as it is. Dimensions with equal labels go together.
Names = tuple[Any, ...]


@dataclass(frozen=True)
class Labels:
    """The labels of each tensor argument, or of the tensors of a list, and of each output.

    `fills` has, by argument and label, the number that spare places along such a dimension have to hold.
    `hides` has, by argument, a label: if the argument is None, a row of zeros with -inf in spare places is passed.
    """

    arguments: Mapping[str, tuple[Names, ...]]
    outputs: tuple[Names, ...]
    fills: Mapping[str, Mapping[Any, float]] = field(default_factory=dict)
    hides: Mapping[str, Any] = field(default_factory=dict)

    def sizes(self, call: Call) -> dict[Any, int]:
        """How many places the call's tensors have, by label."""
        found: dict[Any, int] = {}
        for name, tensors in self.arguments.items():
            for (_, meta), names in zip(call.tensors(name), tensors, strict=True):
                found.update((label, n) for label, n in zip(names, meta.shape, strict=True) if label is not None)
        return found


class Apart(Protocol):
    """Says it for a call of the op, whose outputs have this metadata; None if it cannot say."""

    def __call__(self, call: Call, outputs: list[Meta]) -> Labels | None:
        """The labels."""
        ...


def elementwise(call: Call, outputs: list[Meta]) -> Labels | None:
    """All dimensions, counted from the last."""
    shape = outputs[0].shape
    if any(output.shape != shape for output in outputs):
        return None
    arguments: dict[str, tuple[Names, ...]] = {}
    for name, meta in call.tensors():
        places = range(-meta.ndim, 0)
        repeated = (place if -place <= len(shape) and meta.shape[place] == shape[place] else None for place in places)
        arguments[name] = (*arguments.get(name, ()), tuple(repeated))
    return Labels(arguments, tuple(tuple(range(-len(shape), 0)) for _ in outputs))


@dataclass(frozen=True)
class Leading:
    """The dimensions of one argument up to the last few, which are also the first of each output that has elements.

    `last` is how many those are, or a function of the call that tells.
    """

    name: str
    last: int | Callable[[Call], int]

    def __call__(self, call: Call, outputs: list[Meta]) -> Labels | None:
        meta = call[self.name]
        count = meta.ndim - (self.last(call) if callable(self.last) else self.last)
        first = tuple(range(count))
        if count < 1 or any(output.numel and output.shape[:count] != meta.shape[:count] for output in outputs):
            return None
        return Labels(
            {self.name: ((*first, *(None,) * (meta.ndim - count)),)},
            tuple(
                (*first, *(None,) * (output.ndim - count)) if output.numel else (None,) * output.ndim
                for output in outputs
            ),
        )


def batch(name: str) -> Leading:
    """The first dimension alone."""
    return Leading(name, lambda call: call[name].ndim - 1)


@dataclass(frozen=True)
class AllBut:
    """All dimensions of one argument, or of each tensor of a list, but those along which the op works.

    `dims` is the argument that names them. With `fill`, spare places along them do not matter if they hold the number.
    """

    name: str
    dims: str = "dim"
    fill: float | None = None

    def __call__(self, call: Call, outputs: list[Meta]) -> Labels | None:
        metas = [meta for _, meta in call.tensors(self.name)]
        rank, given = metas[0].ndim, call[self.dims]
        if any(meta.ndim != rank for meta in metas) or given is None or given == []:
            return None  # the op may work along all of them
        along = {dim % max(rank, 1) for dim in (given if isinstance(given, (list, tuple)) else [given])}
        whole: Names = tuple(None if dim in along else dim for dim in range(rank))
        left = tuple(dim for dim in whole if dim is not None)
        inside: Names = whole
        fills: dict[str, dict[Any, float]] = {}
        if self.fill is not None and len(metas) == 1:
            inside = tuple(("along", dim) if dim in along else dim for dim in range(rank))
            fills = {self.name: {("along", dim): self.fill for dim in along}}
            whole = inside if all(output.shape == metas[0].shape for output in outputs) else whole
        results = tuple(whole if output.ndim == rank else left for output in outputs)
        return Labels({self.name: (inside,) * len(metas)}, results, fills)


@dataclass(frozen=True)
class Product:
    """The rows of the first factor, the columns of the second, and the dimensions before them, which both have."""

    first: str
    second: str

    def __call__(self, call: Call, outputs: list[Meta]) -> Labels | None:
        a, b = call[self.first], call[self.second]
        if a.ndim < 2 or b.ndim not in (2, a.ndim):
            return None
        lead = tuple(range(a.ndim - 2))
        labels = {self.first: ((*lead, "row", "inner"),), self.second: ((*lead[: b.ndim - 2], "inner", "column"),)}
        return Labels(labels, ((*lead, "row", "column"),), {name: {"inner": 0.0} for name in labels})
