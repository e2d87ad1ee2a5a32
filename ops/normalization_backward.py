"""Gradients of layer and group normalization, from the statistics that the forward pass kept."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, SameDtype, SameShape
from ..registry import lower
from ..samples import Sample, rand
from .normalization import ONE_EACH, other_sizes, shaped
from .vocabulary import as_shape, cast, reduce, widen

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16
INPUT, WEIGHT, BIAS = range(3)
ONLY = "PyTorch takes no others"


def unweighted(call):
    """The mask, if it asks for the gradient of a parameter that there is not."""
    mask = call["output_mask"]
    names = [name for name in ("weight", "bias") if name in call.arguments]
    missing = [name for place, name in enumerate(names, WEIGHT) if mask[place] and call[name] is None]
    return f"none for {', '.join(missing)}" if missing else None


def alone(call):
    """Rows of a single element."""
    shape = call["input"].shape
    groups = call.arguments.get("group")
    size = prod(call["normalized_shape"]) if groups is None else prod(shape[1:]) // max(groups, 1)
    return "1" if size == 1 else None


SEVERAL = Check(
    "rows of more than one element", alone, because="the gradient of one alone is 0, where PyTorch gives roundings"
)
WANTED = Check("the parameters whose gradients are wanted", unweighted, because="there is nothing to take them of")


def of_normalized(tt, grad, normal, rstd):
    """The gradient of rows that were normalized to `normal`, divided by their deviation."""
    mean = reduce(tt, "mean", grad, -1, keepdim=True)
    along = reduce(tt, "mean", tt.multiply(grad, normal), -1, keepdim=True)
    return tt.multiply(tt.subtract(tt.subtract(grad, mean), tt.multiply(normal, along)), rstd)


def layer_norm_gradients():
    def of(shape, dims, dtype=torch.float32, given=None, mask=(True, True, True), bare=False):
        x = rand(*shape, dtype=dtype)
        size = list(shape)[len(shape) - dims :]
        weight, bias = (None if bare else rand(*size, dtype=given or dtype) for _ in range(2))
        _, mean, rstd = torch.native_layer_norm(x, size, weight, bias, 1e-5)
        return Sample(rand(*shape, dtype=dtype), x, size, mean, rstd, weight, bias, list(mask))

    for dtype in FLOATS:
        yield of((5, 7), 1, dtype)
        yield of((2, 3, 40), 1, dtype)
        yield of((2, 3, 5, 7), 2, dtype)
        yield of((9,), 1, dtype)
        yield of((2, 33, 64), 2, dtype, mask=(True, False, False), bare=True)
    yield of((5, 7), 1, mask=(False, True, True))
    yield of((5, 7), 1, mask=(True, False, True))
    yield of((5, 7), 1, mask=(False, False, True))
    yield of((5, 7), 1, BFLOAT16, given=torch.float32)
    grad, *rest = of((5, 7), 1).args
    yield Sample(grad.double(), *(t.double() if isinstance(t, torch.Tensor) else t for t in rest))
    yield Sample(grad.bfloat16(), *rest)
    yield Sample(grad[1:], *rest)
    x, size, mean, *rest = rest
    yield Sample(grad, x, size, mean[1:], *rest)
    yield of((5, 7), 1, bare=True)
    yield of((5, 1), 1)


def of_other_rows(call):
    rows = call["input"].numel // max(prod(call["normalized_shape"]), 1)
    return next((f"{name} {meta}" for name, meta in call.tensors("mean", "rstd") if meta.numel != rows), None)


@lower(
    aten.native_layer_norm_backward.default,
    samples=layer_norm_gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_out", "input", "mean", "rstd", "weight", "bias")),
        SameShape(("grad_out", "input"), because=ONLY),
        Check("statistics of each row", of_other_rows, because=ONLY),
        SEVERAL,
        WANTED,
    ],
)
def native_layer_norm_backward(tt, grad_out, input, normalized_shape, mean, rstd, weight, bias, output_mask):
    size = prod(normalized_shape)
    count = prod(input.shape) // size
    grad, x = (widen(tt, as_shape(tt, t, [count, size])) for t in (grad_out, input))
    mean, rstd = (widen(tt, as_shape(tt, t, [count, 1])) for t in (mean, rstd))
    made = []
    if output_mask[INPUT] or output_mask[WEIGHT]:
        normal = tt.multiply(tt.subtract(x, mean), rstd)
    if output_mask[INPUT]:
        weighed = grad if weight is None else tt.multiply(grad, shaped(tt, weight, [1, size], tt.float32))
        made.append(cast(tt, as_shape(tt, of_normalized(tt, weighed, normal, rstd), input.shape), input.dtype))
    for place, parameter in ((WEIGHT, weight), (BIAS, bias)):
        if output_mask[place]:
            total = reduce(tt, "sum", tt.multiply(grad, normal) if place == WEIGHT else grad, 0)
            made.append(cast(tt, as_shape(tt, total, list(normalized_shape)), parameter.dtype))
    return made


def group_norm_gradients():
    def of(shape, groups, dtype=torch.float32, given=None, mask=(True, True, True), bare=False):
        batch, channels, *sizes = shape
        sizes = batch, channels, prod(sizes)
        x = rand(*shape, dtype=dtype)
        weight, bias = (None if bare else rand(channels, dtype=given or dtype) for _ in range(2))
        _, mean, rstd = torch.native_group_norm(x, weight, bias, *sizes, groups, 1e-5)
        return Sample(rand(*shape, dtype=dtype), x, mean, rstd, weight, *sizes, groups, list(mask))

    for dtype in FLOATS:
        yield of((2, 6, 5, 7), 3, dtype)
        yield of((3, 4), 2, dtype)
        yield of((2, 8, 40), 1, dtype)
        yield of((2, 4, 2, 3, 3), 4, dtype, mask=(True, False, False), bare=True)
    yield of((2, 4, 5, 3), 2, mask=(False, True, True))
    yield of((2, 4, 5, 3), 2, mask=(True, False, True))
    yield of((2, 4, 5, 3), 2, BFLOAT16, given=torch.float32)
    grad, x, mean, rstd, weight, *sizes, groups, mask = of((2, 4, 5, 3), 2).args
    yield Sample(grad.double(), x.double(), mean.double(), rstd.double(), weight.double(), *sizes, groups, mask)
    yield Sample(grad, x, mean, rstd, weight.bfloat16(), *sizes, groups, mask)
    yield Sample(grad[:1], x, mean, rstd, weight, *sizes, groups, mask)
    yield Sample(grad, x, mean[:1], rstd, weight, *sizes, groups, mask)
    yield Sample(grad, x, mean, rstd, weight[:2], *sizes, groups, mask)
    yield Sample(grad, x, mean, rstd, weight, 1, *sizes[1:], groups, mask)
    yield of((2, 4, 5, 3), 2, bare=True)
    yield of((2, 4), 4)


def of_other_groups(call):
    groups = (call["N"], call["group"])
    return next((f"{name} {meta}" for name, meta in call.tensors("mean", "rstd") if meta.shape != groups), None)


@lower(
    aten.native_group_norm_backward.default,
    samples=group_norm_gradients,
    takes=FLOATS,
    when=[
        SameDtype(("grad_out", "input", "mean", "rstd", "weight")),
        SameShape(("grad_out", "input"), because=ONLY),
        Check("N, C and HxW as the input has them", other_sizes, because=ONLY),
        Check("statistics of each group", of_other_groups, because=ONLY),
        ONE_EACH,
        SEVERAL,
        WANTED,
    ],
)
def native_group_norm_backward(tt, grad_out, input, mean, rstd, weight, N, C, HxW, group, output_mask):
    by_group, by_channel = [N, group, C // group * HxW], [N, C, HxW]
    grad, x = (widen(tt, as_shape(tt, t, by_group)) for t in (grad_out, input))
    mean, rstd = (widen(tt, as_shape(tt, t, [N, group, 1])) for t in (mean, rstd))
    dtype = input.dtype if weight is None else weight.dtype
    made = []
    if output_mask[INPUT] or output_mask[WEIGHT]:
        normal = tt.multiply(tt.subtract(x, mean), rstd)
    if output_mask[INPUT]:
        weighed = grad
        if weight is not None:
            weighed = tt.multiply(as_shape(tt, grad, by_channel), shaped(tt, weight, [1, C, 1], tt.float32))
            weighed = as_shape(tt, weighed, by_group)
        made.append(cast(tt, as_shape(tt, of_normalized(tt, weighed, normal, rstd), input.shape), input.dtype))
    for place in (WEIGHT, BIAS):
        if output_mask[place]:
            each = tt.multiply(grad, normal) if place == WEIGHT else grad
            made.append(cast(tt, reduce(tt, "sum", as_shape(tt, each, by_channel), [0, 2]), dtype))
    return made
