"""Writes of elements to the places along one dimension that an index gives them: scatter, and its reductions."""

from __future__ import annotations

from math import prod

import torch

from ..call import Call, describe
from ..conditions import FLOATS, Check, OneOf, SameDtype
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Rows
from ..specs.indices import within
from .scatter_reduction import along
from .vocabulary import (
    BF16,
    FITS,
    as_shape,
    cast,
    cut,
    is_number,
    moved_last,
    moves_narrow,
    number,
    permuted,
    permuted_back,
    shape_of,
    widen,
)

aten = torch.ops.aten

WRITABLE = (*FLOATS, torch.int32, torch.uint8, torch.bool)
REDUCTIONS = ("add", "multiply")


class _Places(Rows):
    """Indices as in `Rows`, which keep their other dimensions."""

    def ready(self, index: torch.Tensor, bound: tuple[int, int]) -> torch.Tensor | None:
        count, dim = bound
        if within(index, count) is None:
            return None
        return index.movedim(dim, -1).contiguous() if index.ndim else index.view(1)

    def says(self) -> str:
        return "as indices within bounds, with their dimension last"


class _Last(_Places):
    """The same. Of several elements that go to one place, the last one does, as on the CPU.

    The others go to the first place beyond the dimension: ttnn.scatter does not say which of several elements stays.
    """

    def ready(self, index: torch.Tensor, bound: tuple[int, int]) -> torch.Tensor | None:
        index_last = super().ready(index, bound)
        if index_last is None:
            return None
        *lead, count = index_last.shape
        numbers = torch.arange(count, dtype=torch.int64, device=index.device).expand(index_last.shape)
        last = torch.zeros(*lead, bound[0], dtype=torch.int64, device=index.device)
        last = last.scatter_reduce(-1, index_last, numbers, "amax").gather(-1, index_last)
        return torch.where(last == numbers, index_last, bound[0])

    def says(self) -> str:
        return f"{super().says()}, beyond them for elements that another one replaces"


def beyond(call: Call) -> str | None:
    """How the elements lie beside the tensor, where there are fewer of them than places in the other dimensions."""
    shape, index = list(call["self"].shape), list(call["index"].shape)
    if len(shape) != len(index) or not shape:
        return None if prod(shape) == prod(index) == 1 else describe(index)
    dim = call["dim"] % len(shape)
    fits = all(few <= size for d, (few, size) in enumerate(zip(index, shape, strict=True)) if d != dim)
    return None if fits else describe(index)


def too_few(call: Call) -> str | None:
    index, src = call["index"].shape, call["src"].shape
    fits = len(index) == len(src) and all(few <= size for few, size in zip(index, src, strict=True))
    return None if fits else describe(list(src))


INSIDE = Check("index lies within self in the other dimensions", beyond, because="PyTorch takes no others")


def matrix(tt, x, rows, width):
    """`x` as so many rows, row-major, in a dtype that ttnn.scatter takes: integers as they are, else float32."""
    x = as_shape(tt, x if x.dtype == tt.int32 else widen(tt, x), [rows, width])
    return tt.to_layout(x, tt.ROW_MAJOR_LAYOUT)


def written(tt, self, dim, index, values, how="replace"):
    """`self` with values, a tensor or a number, where the index sends them: in place of what is there, or added to it,
    or multiplied with it."""
    shape = shape_of(self) or [1]
    order = moved_last([dim], len(shape))
    whole, (*lead, count) = permuted(tt, as_shape(tt, self, shape), order), shape_of(index)
    *_, size = whole_shape = shape_of(whole)
    rows, part = prod(lead), [*lead, size]
    covered = first(tt, whole, part)
    index = as_shape(tt, index, [rows, count])
    if is_number(values):
        covered = matrix(tt, covered, rows, size)
        given = tt.full_like(index, number(tt, values, covered), dtype=covered.dtype)
    else:
        values = permuted(tt, as_shape(tt, values, shape_of(values) or [1]), order)
        given = matrix(tt, first(tt, values, [*lead, count]), rows, count)
        beyond = how == "replace"  # a place for the elements that others replace
        covered = tt.pad(as_shape(tt, covered, [rows, size]), [(0, 0), (0, 1)], 0) if beyond else covered
        covered = matrix(tt, covered, rows, size + beyond)
    if how == "add":
        made = tt.scatter_add(covered, 1, index, given)
    else:
        made = tt.scatter(covered, 1, index, given, **({"reduce": how} if how == "multiply" else {}))
    made = tt.to_layout(made, tt.TILE_LAYOUT)
    made = cast(tt, as_shape(tt, cut(tt, made, 1, 0, size), part), self.dtype)
    if part != whole_shape:
        widths = [(0, all_ - some) for all_, some in zip(whole_shape, part, strict=True)]
        is_covered = tt.pad(tt.full_like(made, number(tt, 1, made)), widths, 0)
        made = tt.where(is_covered, tt.pad(made, widths, 0), whole)
    return as_shape(tt, permuted_back(tt, made, order), shape_of(self))


def first(tt, x, shape):
    """The first elements of each dimension."""
    return x if shape_of(x) == shape else tt.slice(x, [0] * len(shape), shape)


def cases():
    """A tensor, a dimension, indices into it and what goes there."""
    for dtype in WRITABLE:
        yield ints(5, 7, high=2).to(dtype), 1, ints(5, 7, high=7), ints(5, 7, high=2).to(dtype)
    for dtype in FLOATS:
        yield rand(5, 7, dtype=dtype), 0, ints(3, 7, high=5), rand(3, 7, dtype=dtype)
        yield rand(2, 33, 4, dtype=dtype), 1, ints(1, 20, 3, high=33), rand(2, 40, 3, dtype=dtype)
        yield rand(40, dtype=dtype), -1, ints(9, high=40), rand(9, dtype=dtype)
    yield rand(5), 0, torch.tensor([3, 0, 1]), torch.tensor([torch.nan, torch.inf, -0.0])
    yield rand(), 0, ints(high=1), rand()


def refused(*more):
    yield Sample(rand(5, 7).double(), 0, ints(2, 7, high=5), *more)
    yield Sample(rand(5, 7), 0, ints(2, 7, high=5, dtype=torch.int32), *more)
    yield Sample(rand(5, 7), 0, ints(2, 8, high=5), *more)


SOURCES = [
    SameDtype(("self", "src")),
    INSIDE,
    Check("src has an element for each index", too_few, because="PyTorch takes no others"),
]


def refused_tensors():
    yield from refused(rand(5, 8))
    yield Sample(rand(5, 7), 0, ints(2, 7, high=5), rand(2, 7, dtype=BF16))
    yield Sample(rand(5, 7), 0, ints(2, 7, high=5), rand(1, 7))


def scattered_tensors():
    for case in cases():
        yield Sample(*case)
    yield from refused_tensors()


@lower(
    aten.scatter.src,
    samples=scattered_tensors,
    takes={"self": WRITABLE, "index": _Last((torch.int64,), along=along, row_major=True), "src": WRITABLE},
    when=SOURCES,
)
@moves_narrow
def scatter(tt, self, dim, index, src):
    return written(tt, self, dim, index, src)


def scattered_numbers():
    for self, dim, index, _ in cases():
        yield Sample(self, dim, index, 1)
    for value in (-2.5, torch.inf, -torch.inf, torch.nan):
        yield Sample(rand(5, 7), 1, ints(5, 3, high=7), value)
        yield Sample(rand(2, 33, 4, dtype=BF16), 1, ints(1, 40, 4, high=33), value)
    yield from refused(1.5)
    yield Sample(ints(5, 7, dtype=torch.int32), 1, ints(5, 3, high=7), 2.5)


@lower(
    aten.scatter.value,
    samples=scattered_numbers,
    takes={"self": WRITABLE, "index": _Places((torch.int64,), along=along, row_major=True)},
    when=[FITS, INSIDE],
)
@moves_narrow
def scatter_number(tt, self, dim, index, value):
    return written(tt, self, dim, index, value)


REDUCED = OneOf("reduce", REDUCTIONS)
IN_PLACES = _Places((torch.int64,), along=along, row_major=True)


def with_reductions(samples):
    """The samples that are of floats, with each of the reductions, then one that is none."""

    def reduced():
        for sample in samples():
            if sample.args[0].is_floating_point():
                for reduce in REDUCTIONS:
                    yield Sample(*sample.args, reduce=reduce)
        yield Sample(*next(iter(samples())).args, reduce="amax")

    return reduced


@lower(
    aten.scatter.value_reduce,
    samples=with_reductions(scattered_numbers),
    takes={"self": FLOATS, "index": IN_PLACES},
    when=[INSIDE, REDUCED],
)
def scatter_number_reduced(tt, self, dim, index, value, reduce):
    return written(tt, self, dim, index, value, reduce)
