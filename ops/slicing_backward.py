"""Gradients of slices and selections: the gradient at its places, and zeros elsewhere."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, Check
from ..registry import lower
from ..samples import Sample, rand
from ._convolution_calls import spaced
from .pad import PADDED_ROW, constant_pad_nd
from .vocabulary import as_shape, at_most

aten = torch.ops.aten


def of_size(call):
    return call["input_sizes"][-1] if call["input_sizes"] else 0


WHEN = [at_most(PADDED_ROW, "rows of at most {} elements", of_size, because="ttnn.pad keeps rows in L1")]


def taken(sizes, dim, start, end, step):
    """The places along a dimension that a slice takes."""
    return range(sizes[dim])[start:end:step]


def other_slice(call):
    """The gradient, if it does not have the shape of what the slice takes."""
    sizes, dim = list(call["input_sizes"]), call["dim"]
    if not -len(sizes) <= dim < len(sizes) or call["step"] < 1:
        return f"dimension {dim} of {sizes}, in steps of {call['step']}"
    wanted = list(sizes)
    wanted[dim] = len(taken(sizes, dim, call["start"], call["end"], call["step"]))
    return None if call["grad_output"].shape == tuple(wanted) else str(call["grad_output"])


def other_element(call):
    """The gradient, if it does not have the shape of what the selection takes."""
    sizes, dim, index = list(call["input_sizes"]), call["dim"], call["index"]
    if not -len(sizes) <= dim < len(sizes) or not -sizes[dim] <= index < sizes[dim]:
        return f"index {index} in dimension {dim} of {sizes}"
    wanted = list(sizes)
    del wanted[dim]
    return None if call["grad_output"].shape == tuple(wanted) else str(call["grad_output"])


AS_TAKEN = "PyTorch raises, or spreads the gradient"


def slices():
    for dtype in FLOATS:
        for sizes, dim, start, end, step in (
            ([5, 7], 0, 1, 4, 1),
            ([5, 7], 1, 0, -1, 1),
            ([2, 33, 40], 1, 30, 2**63 - 1, 1),
            ([2, 33, 40], -1, -8, 100, 3),
            ([2, 3, 9], 1, 0, 3, 2),
            ([70], 0, 2, 65, 7),
            ([3, 4], 0, 0, 3, 1),
        ):
            shape = list(sizes)
            shape[dim] = len(taken(sizes, dim, start, end, step))
            yield Sample(rand(*shape, dtype=dtype), sizes, dim, start, end, step)
    yield Sample(rand(2, 7).double(), [5, 7], 0, 1, 3, 1)
    yield Sample(rand(1, 7), [5, 7], 0, 1, 3, 1)
    yield Sample(rand(1, PADDED_ROW), [1, PADDED_ROW + 1], 1, 1, 2**63 - 1, 1)


@lower(
    aten.slice_backward.default,
    samples=slices,
    takes=FLOATS,
    when=[*WHEN, Check("a gradient of what the slice takes", other_slice, because=AS_TAKEN)],
)
def slice_backward(tt, grad_output, input_sizes, dim, start, end, step):
    places = taken(input_sizes, dim, start, end, step)
    dim = dim % len(input_sizes)
    x = grad_output
    if len(places) > 1 and step > 1:
        x = spaced(tt, tt.to_layout(x, tt.ROW_MAJOR_LAYOUT), dim, step)
    return within(tt, x, dim, places[0], input_sizes[dim] - 1 - places[-1])


def within(tt, x, dim, before, after):
    """`x` with so many zeros before and after it along a dimension."""
    return constant_pad_nd(tt, x, [0, 0] * (len(x.shape) - 1 - dim) + [before, after], 0)


def selections():
    for dtype in FLOATS:
        yield Sample(rand(5, dtype=dtype), [4, 5], 0, 2)
        yield Sample(rand(4, dtype=dtype), [4, 5], -1, -1)
        yield Sample(rand(2, 40, dtype=dtype), [2, 33, 40], 1, 32)
        yield Sample(rand(dtype=dtype), [5], 0, 3)
        yield Sample(rand(3, dtype=dtype), [3, 1], 1, 0)
    yield Sample(rand(5).double(), [4, 5], 0, 2)
    yield Sample(rand(1), [4, 5], 0, 2)
    yield Sample(rand(1), [1, PADDED_ROW + 1], 1, 2)


@lower(
    aten.select_backward.default,
    samples=selections,
    takes=FLOATS,
    when=[*WHEN, Check("a gradient of what the selection takes", other_element, because=AS_TAKEN)],
)
def select_backward(tt, grad_output, input_sizes, dim, index):
    dim, shape = dim % len(input_sizes), list(input_sizes)
    size, shape[dim] = shape[dim], 1
    before = index % size
    return within(tt, as_shape(tt, grad_output, shape), dim, before, size - 1 - before)
