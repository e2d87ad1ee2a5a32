"""Gradients of paddings with what a tensor has: each element also gets what the edges made of it got."""

from __future__ import annotations

from functools import reduce as fold

import torch

from ..conditions import FLOATS, AtLeast, AtMost, Check, SameDtype, SizeAtMost
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Shape
from .pad import mirrored, replicated, sides
from .vocabulary import ROW, cast, cut, widen

aten = torch.ops.aten

ONLY = "PyTorch takes no others"


def gradients(rank, reflects):
    def of(shape, padding, dtype=torch.float32):
        wide = [size + a + b for size, (a, b) in zip(shape, sides(len(shape), padding), strict=True)]
        return Sample(rand(*wide, dtype=dtype), rand(*shape, dtype=dtype), padding)

    def samples():
        shape = [5, 6, 7][-rank:]
        for dtype in FLOATS:
            yield of((2, 3, *shape), [1, 2] * rank, dtype)
            yield of((3, *shape), [0, 3, *[0] * (2 * rank - 2)], dtype)
            yield of((1, 33, *shape), [0] * 2 * rank, dtype)
        yield of((2, 3, *shape[:-1], 40), [33, 4, *[2] * (2 * rank - 2)])
        yield of((2, 3, *shape[:-1], 40), [31, 4, *[2] * (2 * rank - 2)])
        if not reflects:
            yield of((1, 2, *[1] * rank), [3, 2] * rank)
        yield of((2, 3, *shape), [-1, 2] * rank)
        yield of((2, 3, *shape), [1, 2] * rank, torch.float64)
        grad, x, padding = of((2, 3, *shape), [1, 2] * rank).args
        yield Sample(grad.bfloat16(), x, padding)
        yield Sample(grad[..., 1:], x, padding)
        yield Sample(
            rand(1, *[2] * (rank - 1), ROW + 2), rand(1, *[2] * (rank - 1), ROW + 1), [1, *[0] * (2 * rank - 1)]
        )

    return samples


def other_gradient(call):
    shape, padding = call["self"].shape, call["padding"]
    wide = tuple(size + a + b for size, (a, b) in zip(shape, sides(len(shape), padding), strict=True))
    return None if call["grad_output"].shape == wide else str(call["grad_output"])


def added_back(tt, x, dim, before, after, taken):
    """`x` without its padding along a dimension, with what was padded added to the elements that it was made of."""
    size = x.shape[dim] - before - after
    front, back = taken(before, after, size)
    rows: dict[int, list[int]] = {}
    for at, place in (*enumerate(front), *enumerate(back, before + size)):
        rows.setdefault(place, []).append(at)
    parts, done = [], 0
    for place in sorted(rows):
        if place > done:
            parts.append(cut(tt, x, dim, before + done, before + place))
        each = (cut(tt, x, dim, at, at + 1) for at in (before + place, *rows[place]))
        parts.append(fold(tt.add, each))
        done = place + 1
    if done < size:
        parts.append(cut(tt, x, dim, before + done, before + size))
    return parts[0] if len(parts) == 1 else tt.concat(parts, dim)


def lower_gradient(op, rank, taken):
    @lower(
        op,
        samples=gradients(rank, taken is mirrored),
        takes={"grad_output": FLOATS, "self": Shape(FLOATS)},
        when=[
            SameDtype(("grad_output", "self")),
            AtLeast("padding", 0, because="others leave elements out"),
            AtMost("padding", 32, because="it takes one slice for each row that was added"),
            SizeAtMost("self", -1, ROW, because="ttnn.slice keeps rows in L1"),
            Check("a gradient of the padded shape", other_gradient, because=ONLY),
        ],
    )
    def backward(tt, grad_output, self, padding):
        x = widen(tt, grad_output)
        for dim, (before, after) in enumerate(sides(len(self.shape), padding)):
            if before or after:
                x = added_back(tt, x, dim, before, after, taken)
        return cast(tt, x, grad_output.dtype)


for n, (reflection, replication) in enumerate(
    [
        (aten.reflection_pad1d_backward.default, aten.replication_pad1d_backward.default),
        (aten.reflection_pad2d_backward.default, aten.replication_pad2d_backward.default),
        (aten.reflection_pad3d_backward.default, aten.replication_pad3d_backward.default),
    ],
    start=1,
):
    lower_gradient(reflection, n, mirrored)
    lower_gradient(replication, n, replicated)
