"""Specs for tensors of indices. The host checks them against their bounds, and what it makes of them is uploaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch

from ..call import Call
from .spec import Arrival, Source, Spec


@dataclass(frozen=True)
class _Checked(Arrival):
    ready: Callable[[Any], torch.Tensor | None]
    row_major: bool = False
    carried_as: str = "uint32"
    checked = True

    def value(self, source: Source, argument: Any) -> Any:
        value = source.indices(argument, self.ready, self.row_major, self.carried_as)
        if value is None or not isinstance(argument, (list, tuple)):
            return value
        return [None if index is None else value for index in argument]

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        return self.carried_as


@dataclass(frozen=True)
class _Bounded(Spec):
    """The base of these specs. A subclass's `ready` takes the plain indices, and the result of `bound` for the call.

    If an index is out of bounds, `ready` gives None: then the host runs the call, and raises what PyTorch raises.
    """

    row_major: bool = field(default=False, kw_only=True)
    # Whether the call computes with them: then they arrive as float32, in tiles.
    as_numbers: bool | Callable[[Call], bool] = field(default=False, kw_only=True)
    checked: ClassVar[bool] = True

    def bound(self, call: Call) -> Any:
        """The bounds that the call sets for the indices."""
        raise NotImplementedError

    def ready(self, index: Any, bound: Any) -> torch.Tensor | None:
        """The tensor to upload; None if an index is out of bounds."""
        raise NotImplementedError

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        ready = partial(self.ready, bound=self.bound(call))
        if self.as_numbers(call) if callable(self.as_numbers) else self.as_numbers:
            return _Checked(ready, carried_as="float32")
        return _Checked(ready, self.row_major)


@dataclass(frozen=True)
class Index(_Bounded):
    """Indices from 0 up to, but without, the number that `below` gives for the call."""

    below: Callable[[Call], int] = field(kw_only=True)

    def bound(self, call: Call) -> int:
        return self.below(call)

    def ready(self, index: torch.Tensor, bound: int) -> torch.Tensor | None:
        return within(index, bound)

    def says(self) -> str:
        return "as indices within bounds"


@dataclass(frozen=True)
class Row(Index):
    """Indices as above. They arrive as one row in row-major layout, int32 if `signed` is true for the call."""

    signed: Callable[[Call], bool] = field(kw_only=True)

    def ready(self, index: torch.Tensor, bound: int) -> torch.Tensor | None:
        found = within(index, bound)
        return None if found is None else found.reshape(-1)

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        ready = partial(self.ready, bound=self.bound(call))
        return _Checked(ready, row_major=True, carried_as="int32" if self.signed(call) else "uint32")

    def says(self) -> str:
        return "as indices within bounds, in one row"


@dataclass(frozen=True)
class Indices(_Bounded):
    """A list of indices, one for each dimension. `into` gives the sizes; None in the list leaves a dimension whole.

    Negative indices count from the end. The list is flattened to one index into all indexed dimensions, and that one
    arrives in place of each index of the list.
    """

    into: Callable[[Call], Sequence[int]] = field(kw_only=True)

    def bound(self, call: Call) -> Sequence[int]:
        return self.into(call)

    def ready(self, index: Sequence[torch.Tensor | None], bound: Sequence[int]) -> torch.Tensor | None:
        flat: torch.Tensor | None = None
        for one, size in zip(index, bound, strict=False):
            if one is None:
                continue
            if one.numel() and int(one.min()) < 0:
                one = torch.where(one < 0, one + size, one)
            if within(one, size) is None:
                return None
            flat = one if flat is None else flat * size + one
        return flat

    def says(self) -> str:
        return "as one flat index within bounds"


@dataclass(frozen=True)
class Ignoring(_Bounded):
    """Indices below a number, with one ignored value that stands for no element. It arrives as that number.

    `below` gives the number and the ignored value. That value may lie within the bounds or outside of them. With
    `with_dim` they arrive with a dimension more, the second one, which is the one that they index.
    """

    below: Callable[[Call], tuple[int, int]] = field(kw_only=True)
    with_dim: bool = field(default=False, kw_only=True)

    def bound(self, call: Call) -> tuple[int, int]:
        return self.below(call)

    def ready(self, index: torch.Tensor, bound: tuple[int, int]) -> torch.Tensor | None:
        count, ignored = bound
        skipped = index == ignored
        if within(index[~skipped], count) is None:
            return None
        found = torch.where(skipped, count, index)
        return found.unsqueeze(min(index.ndim, 1)) if self.with_dim else found

    def says(self) -> str:
        return "as indices within bounds, with the first beyond them for the ignored one"


@dataclass(frozen=True)
class Places(_Bounded):
    """For each element, the place where it goes. The inverse arrives: for each place, the element that goes there.

    The inverse has the shape (images, places). `into` gives how many places an image has, and how many of the index's
    last dimensions make an image. If several elements go to one place, the last one counts. A place without an element
    gets the number of elements as its index.
    """

    into: Callable[[Call], tuple[int, int]] = field(kw_only=True)

    def bound(self, call: Call) -> tuple[int, int]:
        return self.into(call)

    def ready(self, index: torch.Tensor, bound: tuple[int, int]) -> torch.Tensor | None:
        count, dims = bound
        if within(index, count) is None:
            return None
        index = index.flatten(-dims).flatten(end_dim=-2)
        images, elements = index.shape
        numbers = torch.arange(elements, dtype=torch.int64, device=index.device).expand(images, -1)
        last = torch.full((images, count), -1, dtype=torch.int64, device=index.device)
        last = last.scatter_reduce(1, index, numbers, "amax")
        return torch.where(last < 0, elements, last)

    def says(self) -> str:
        return "as which element goes to each place"


@dataclass(frozen=True)
class Rows(_Bounded):
    """For each element, an index along one dimension. The indices arrive as a matrix with that dimension last.

    `along` gives the size of the dimension, then the dimension itself.
    """

    along: Callable[[Call], tuple[int, int]] = field(kw_only=True)

    def bound(self, call: Call) -> tuple[int, int]:
        return self.along(call)

    def ready(self, index: torch.Tensor, bound: tuple[int, int]) -> torch.Tensor | None:
        count, dim = bound
        if within(index, count) is None:
            return None
        index = index.movedim(dim, -1) if index.ndim else index
        return index.reshape(-1, index.shape[-1] if index.ndim else 1)

    def says(self) -> str:
        return "as indices within bounds, in a matrix with their dimension last"


@dataclass(frozen=True)
class Segments(_Bounded):
    """The lengths or offsets of segments of elements. The offsets arrive in both cases.

    `of` gives the number of elements. `offsets` says that the argument holds offsets. If `exact` is true for the call,
    the lengths have to add up to all elements.
    """

    of: Callable[[Call], int] = field(kw_only=True)
    offsets: bool = field(default=False, kw_only=True)
    exact: Callable[[Call], bool] | None = field(default=None, kw_only=True)

    def bound(self, call: Call) -> tuple[int, bool]:
        return self.of(call), self.exact is not None and self.exact(call)

    def ready(self, index: torch.Tensor, bound: tuple[int, bool]) -> torch.Tensor | None:
        count, exact = bound
        found = index if self.offsets else torch.nn.functional.pad(index.cumsum(-1), (1, 0))
        first, last = found[..., 0], found[..., -1]
        if bool((first < 0).any() or (found.diff() < 0).any() or (last > count).any()):
            return None
        return None if exact and bool((last != count).any()) else found

    def says(self) -> str:
        return "as offsets of segments within bounds"


def within(index: torch.Tensor, bound: int) -> torch.Tensor | None:
    """The index, or None if one is negative or not below `bound`."""
    return index if not index.numel() or (int(index.min()) >= 0 and int(index.max()) < bound) else None
