"""Weights that are a direction and a length for each row of one dimension, and their gradients."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from .vocabulary import as_out, as_shape, cast, reduce, shape_of, widen

aten = torch.ops.aten

ONLY = "PyTorch's kernel takes no others"


def directions():
    for dtype in FLOATS:
        yield rand(5, 7, dtype=dtype), 0
        yield rand(4, 3, 9, dtype=dtype), 2
        yield rand(6, 2, 3, 3, dtype=dtype), 0


def lengths(v, dim):
    return rand(*(size if d == dim else 1 for d, size in enumerate(v.shape)), low=0.1, dtype=v.dtype)


def weights():
    for v, dim in directions():
        yield Sample(v, lengths(v, dim), dim)
    v = rand(5, 7)
    yield Sample(v.double(), rand(5, 1).double(), 0)
    yield Sample(v, rand(5, 1).bfloat16(), 0)
    yield Sample(v, rand(7), 0)
    yield Sample(rand(5, 7, 2), rand(1, 7, 1), 1)


def middle(call):
    """A dimension that is neither the first nor the last, which the kernel does not take."""
    v, dim = call[DIRECTION.get(call.op, "v")], call["dim"]
    return None if dim in (0, v.ndim - 1) else str(dim)


def other_length(call):
    v, g, dim = call[DIRECTION.get(call.op, "v")], call["saved_g" if call.op in DIRECTION else "g"], call["dim"]
    return None if g.shape == tuple(size if d == dim else 1 for d, size in enumerate(v.shape)) else str(g)


DIRECTION = {aten._weight_norm_interface_backward.default: "saved_v"}
OUTER = Check("the first or the last dimension", middle, because=ONLY)
EACH = Check("a length for each of that dimension", other_length, because=ONLY)


def norms_on_cpu(call, outputs):
    """The norms are in float32 beside bfloat16."""
    weight, norms = outputs
    return [weight, norms.like(torch.float32) if norms.dtype is torch.bfloat16 else norms]


@lower(
    aten._weight_norm_interface.default,
    samples=weights,
    outputs=norms_on_cpu,
    takes=FLOATS,
    when=[SameDtype(("v", "g")), OUTER, EACH],
)
def weight_norm(tt, v, g, dim, out):
    rows, along, shape = laid_out(tt, v, dim)
    norms = tt.sqrt(reduce(tt, "sum", tt.square(rows), along, keepdim=True))
    made = tt.multiply(rows, tt.divide(as_shape(tt, widen(tt, g), shape), norms))
    return as_shape(tt, cast(tt, made, v.dtype), v.shape), as_shape(tt, as_out(tt, norms, out[1]), g.shape)


def laid_out(tt, v, dim):
    """The direction as a matrix in float32, along which of its dimensions a norm is taken, and the norms' shape."""
    shape = shape_of(v)
    if dim == 0:
        return widen(tt, as_shape(tt, v, [shape[0], prod(shape[1:])])), 1, [shape[0], 1]
    return widen(tt, as_shape(tt, v, [prod(shape[:-1]), shape[-1]])), 0, [1, shape[-1]]


def gradients():
    for v, dim in directions():
        g = lengths(v, dim)
        _, norms = aten._weight_norm_interface(v, g, dim)
        yield Sample(rand(*v.shape, dtype=v.dtype), v, g, norms, dim)
    grad, v, g, norms, dim = Sample(rand(5, 7), rand(5, 7), rand(5, 1), rand(5, 1, low=0.1), 0).args
    yield Sample(grad.double(), v.double(), g.double(), norms.double(), dim)
    yield Sample(grad, v, g.bfloat16(), norms, dim)
    yield Sample(grad, v, g[1:], norms, dim)
    yield Sample(rand(5, 7, 2), rand(5, 7, 2), rand(1, 7, 1), rand(1, 7, 1), 1)
    yield Sample(grad[1:], v, g, norms, dim)


def other_shapes(call):
    alike = call["grad_w"].shape == call["saved_v"].shape and call["saved_norms"].shape == call["saved_g"].shape
    return None if alike else f"{call['grad_w']}, {call['saved_norms']}"


@lower(
    aten._weight_norm_interface_backward.default,
    samples=gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_w", "saved_v", "saved_g")),
        OUTER,
        EACH,
        Check("a gradient and norms in the weight's shape", other_shapes, because=ONLY),
    ],
)
def weight_norm_backward(tt, grad_w, saved_v, saved_g, saved_norms, dim):
    rows, along, shape = laid_out(tt, saved_v, dim)
    grad, _, _ = laid_out(tt, grad_w, dim)
    g, norms = (as_shape(tt, widen(tt, t), shape) for t in (saved_g, saved_norms))
    lean = tt.divide(reduce(tt, "sum", tt.multiply(grad, rows), along, keepdim=True), norms)
    # What lies along the direction changes its length, and the rest the direction.
    rest = tt.subtract(grad, tt.multiply(rows, tt.divide(lean, norms)))
    made = tt.multiply(rest, tt.divide(g, norms))
    return as_shape(tt, cast(tt, made, saved_v.dtype), saved_v.shape), as_shape(
        tt, cast(tt, lean, saved_g.dtype), saved_g.shape
    )
