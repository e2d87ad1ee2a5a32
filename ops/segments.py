"""Sums, products, means and extremes of consecutive segments."""

from __future__ import annotations

from typing import Any

import torch

from ..call import Call
from ..conditions import INDICES, Check, Is, OneOf
from ..meta import Meta, meta_of
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Segments, Tensor
from ._places import MOST_PAIRS, between, reduced
from .vocabulary import NAN_IS_LOST, around, as_shape, at_most, cast, number

aten = torch.ops.aten

HOW = {"sum": "sum", "prod": "prod", "mean": "sum", "max": "amax", "min": "amin"}


def axis_of(call: Call) -> int:
    return call["axis"] % call["data"].ndim


def elements(call: Call) -> int:
    return call["data"].shape[axis_of(call)]


def segment_count(call: Call) -> int:
    return call["lengths"].shape[-1] if call["lengths"] is not None else call["offsets"].shape[-1] - 1


def not_one(call: Call) -> str | None:
    given = [name for name in ("lengths", "offsets") if call[name] is not None]
    return " and ".join(given) or "neither" if len(given) != 1 else None


def other_rows(call: Call) -> str | None:
    sizes, data = call["lengths"] or call["offsets"], call["data"]
    rows = sizes.shape[:-1]
    return str(list(sizes.shape)) if rows != data.shape[: axis_of(call)] else None


def pairs(call: Call) -> int:
    return call["data"].numel * segment_count(call)


def by_segment(call: Call, outputs: list[Meta]) -> list[Meta]:
    """The output as CPU gives it: PyTorch's shape function counts an axis from the end among those of the lengths."""
    shape = list(call["data"].shape)
    shape[axis_of(call)] = segment_count(call)
    return [meta_of(torch.empty(shape, dtype=meta.dtype, device="meta")) for meta in outputs]


def segment_samples():
    def lengths(*sizes, dtype=torch.int64):
        return torch.tensor(sizes, dtype=dtype)

    calls: tuple[dict[str, Any], ...] = (
        {"lengths": lengths(2, 0, 3, 1)},
        {"lengths": lengths(2, 1, 3, dtype=torch.int32), "initial": 0.5},
        {"lengths": lengths(2, 1), "unsafe": True, "initial": -1},
        {"offsets": lengths(0, 2, 2, 6)},
        {"offsets": lengths(1, 2, 4), "initial": 2},
    )
    for how in HOW:
        for call in calls:
            yield Sample(rand(6), how, **call)
        yield Sample(rand(6, 2, 5), how, lengths=lengths(1, 0, 5))
        rows = torch.stack([lengths(40, 0, 3), lengths(1, 2, 40)])
        yield Sample(rand(2, 43, 3), how, lengths=rows, axis=1, initial=1)
        yield Sample(rand(2, 43, 3), how, lengths=rows, axis=-2)
        yield Sample(rand(2, 43), how, offsets=rows.cumsum(1), axis=-1)
        odd = torch.tensor([torch.inf, 1.0, torch.nan, -torch.inf, -0.0, 2.0])
        for initial in (None, 1.0, torch.nan, torch.inf):
            yield Sample(odd, how, lengths=lengths(2, 1, 0, 3), initial=initial)
    yield Sample(rand(6, dtype=torch.bfloat16), "sum", lengths=lengths(6))
    yield Sample(rand(6), "sum", lengths=rand(1))
    yield Sample(rand(6), "sum", lengths=lengths(6), indices=lengths(0, 0, 0, 0, 0, 0))
    yield Sample(rand(6), "median", lengths=lengths(6))
    yield Sample(rand(6), "sum")
    yield Sample(rand(6, 3), "sum", lengths=lengths(3), axis=1)
    yield Sample(rand(1).expand(1024), "sum", lengths=torch.ones(1025, dtype=torch.int64))


@lower(
    aten.segment_reduce.default,
    samples=segment_samples,
    outputs=by_segment,
    takes={
        "data": Tensor((torch.float32,), program_dtype=True, because="in bfloat16 PyTorch rounds after each element"),
        "lengths": Segments(INDICES, of=elements, exact=lambda call: not call["unsafe"], as_numbers=True),
        "offsets": Segments(INDICES, of=elements, offsets=True, as_numbers=True),
    },
    when=[
        Is("indices", None, because="PyTorch does not support them yet"),
        OneOf("reduce", tuple(HOW)),
        Check("either lengths or offsets are given", not_one, because="PyTorch takes one of them"),
        Check("lengths or offsets for each of the rows", other_rows, because="PyTorch raises"),
        at_most(MOST_PAIRS, "at most {} pairs of an element and a segment", pairs, because="all are held at once"),
    ],
    chip=NAN_IS_LOST,
)
def segment_reduce(tt, data, reduce, lengths, offsets, axis, unsafe, initial):
    # Lengths and offsets were checked, `unsafe` or not; both arrive as offsets.
    shape = list(data.shape)
    axis %= len(shape)
    before, size, after = around(shape, axis)
    values = tt.permute(as_shape(tt, data, [before, size, after]), [0, 2, 1])
    here = between(tt, lengths if offsets is None else offsets, before, size)
    total, hits = reduced(tt, values, here, HOW[reduce])
    if initial is not None:
        start = tt.full_like(total, number(tt, initial, total))
        join = {"sum": tt.add, "mean": tt.add, "prod": tt.multiply, "max": tt.maximum, "min": tt.minimum}[reduce]
        total = join(start, total)
    if reduce == "mean":
        # Without elements a segment has its initial value, or NaN.
        total = tt.divide(total, hits if initial is None else tt.clamp(hits, min=1.0))
    total = cast(tt, tt.permute(total, [0, 2, 1]), data.dtype)
    return as_shape(tt, total, [*shape[:axis], here.shape[2], *shape[axis + 1 :]])
