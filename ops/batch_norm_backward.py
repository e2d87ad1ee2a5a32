"""Gradients of batch norms: of the input, of the weight and of the bias."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, ProgramCheck, SameDtype, SameShape
from ..meta import intern
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Shape, Taken, Tensor
from .batch_norm import IMAGE, by_channel, in_form_of, over_channels, strides_on_cpu
from .normalization import shaped
from .vocabulary import BF16, as_shape, cast, widen

aten = torch.ops.aten

INPUT, WEIGHT, BIAS = range(3)
ONLY = "PyTorch takes no others"


def gradients(reserved=False):
    """Samples; with `reserved`, of the op that also takes what the forward pass kept for itself."""

    def of(shape, *, training=True, dtype=torch.float32, given=None, bare=False, mask=(True, True, True), last=False):
        x, channels = rand(*shape, dtype=dtype), shape[1]
        if last:
            x = x.contiguous(memory_format=torch.channels_last)
        given = given or dtype
        weight = None if bare else rand(channels, dtype=given)
        running = rand(channels, dtype=given), rand(channels, low=0.1, dtype=given)
        copies = [t.clone() for t in running]
        _, mean, rstd = aten.native_batch_norm(x, weight, None, *copies, training, 0.1, 1e-5)
        more = [torch.empty(0, dtype=torch.uint8)] if reserved else []
        return Sample(rand(*shape, dtype=dtype), x, weight, *running, mean, rstd, training, 1e-5, list(mask), *more)

    def samples():
        for dtype in FLOATS:
            for training in (True, False):
                yield of((2, 6, 5, 7), dtype=dtype, training=training)
                yield of((4, 40), dtype=dtype, training=training, bare=True)
                yield of((3, 5, 33), dtype=dtype, training=training, mask=(True, False, False))
        yield of((2, 6, 5, 7), last=True)
        yield of((1, 6, 5, 7), mask=(True, True, False))
        yield of((2, 6, 5, 7), mask=(False, True, True))
        yield of((2, 6, 5, 7), training=False, mask=(False, False, True))
        yield of((2, 3, 2, 5, 4))
        yield of((2, 3, 4, 5), dtype=BF16, given=torch.float32)
        grad, x, weight, mean, variance, *rest = of((2, 3, 4, 5)).args
        yield Sample(grad, x, weight, None, None, *rest)
        yield Sample(grad, x.mT.contiguous().mT, weight, mean, variance, *rest)
        yield Sample(grad.double(), x, weight, mean, variance, *rest)
        yield Sample(grad.bfloat16(), x, weight, mean, variance, *rest)
        yield Sample(grad, x, weight.bfloat16(), mean, variance, *rest)
        yield Sample(grad[1:], x, weight, mean, variance, *rest)
        yield Sample(grad, x, weight[1:], mean, variance, *rest)
        yield Sample(grad, x, weight, mean, variance, None, *rest[1:])
        if reserved:
            yield Sample(grad, x, weight, mean, variance, *rest[:-1], rest[-1].int())

    return samples


def statistics(call):
    """The names of the statistics by which the input was normalized."""
    training, saved = ("update", "save_var") if "update" in call.arguments else ("train", "save_invstd")
    return ("save_mean", saved) if call[training] else ("running_mean", "running_var")


def read(call):
    return [(name, call[name]) for name in ("weight", *statistics(call)) if call[name] is not None]


def other_dtypes(call):
    names = [name for name in call.arguments if name.startswith(("weight", "running_", "save_"))]
    given = list(call.tensors(*names))
    dtypes = {meta.dtype for _, meta in given}
    if dtypes in ({call["input"].dtype}, {torch.float32}):
        return None
    return ", ".join(f"{name} {meta}" for name, meta in given)


def not_given(call):
    return ", ".join(name for name in statistics(call) if call[name] is None) or None


def other_sizes(call):
    channels = call["input"].shape[1]
    return next((f"{name} {meta}" for name, meta in read(call) if meta.shape != (channels,)), None)


def gradients_on_cpu(call, outputs):
    """That of the input only if it is wanted, in the input's memory format; the others in the statistics' dtype."""
    first, *found = outputs
    image = intern(first.dtype, first.shape, strides_on_cpu(call["input"])) if call["output_mask"][INPUT] else None
    return [image, *(meta.like(call[statistics(call)[0]].dtype) for meta in found)]


PARAMETERS: dict[str, Taken] = {
    **dict.fromkeys(("grad_out", "input"), IMAGE),
    **dict.fromkeys(("weight", "running_mean", "running_var"), FLOATS),
    "save_mean": Tensor(FLOATS, may_be_empty=True),
}
USUAL = [
    SameDtype(("grad_out", "input")),
    Check("the statistics by which it was normalized", not_given, because=ONLY),
    ProgramCheck("parameters all of the input's dtype or all float32", other_dtypes, because=ONLY),
    SameShape(("grad_out", "input"), because=ONLY),
    Check("one number for each channel in each parameter", other_sizes, because=ONLY),
]


@lower(
    aten.native_batch_norm_backward.default,
    samples=gradients(),
    outputs=gradients_on_cpu,
    takes={**PARAMETERS, "save_invstd": Tensor(FLOATS, may_be_empty=True)},
    when=USUAL,
)
def native_batch_norm_backward(
    tt, grad_out, input, weight, running_mean, running_var, save_mean, save_invstd, train, eps, output_mask
):
    given = (save_mean, save_invstd) if train else (running_mean, running_var)
    return backward(tt, grad_out, input, weight, *given, train, eps, output_mask)


@lower(
    aten.batch_norm_backward.default,
    samples=gradients(reserved=True),
    outputs=gradients_on_cpu,
    takes={
        **PARAMETERS,
        "save_var": Tensor(FLOATS, may_be_empty=True),
        "reserve": Shape((torch.uint8,), may_be_empty=True),
    },
    when=USUAL,
)
def batch_norm_backward(
    tt, grad_out, input, weight, running_mean, running_var, save_mean, save_var, update, eps, output_mask, reserve
):
    del reserve  # for other devices
    # What PyTorch calls the variance here is the reciprocal of the deviation.
    given = (save_mean, save_var) if update else (running_mean, running_var)
    return backward(tt, grad_out, input, weight, *given, update, eps, output_mask)


def backward(tt, grad_out, input, weight, mean, spread, training, eps, mask):
    """The gradients; `spread` is the reciprocal deviation of the batch in training, else the running variance."""
    x, dims, shape = by_channel(tt, input)
    grad = widen(tt, by_channel(tt, grad_out)[0])
    channels, dtype = [input.shape[1]], mean.dtype
    mean, reciprocal = (as_shape(tt, widen(tt, given), shape) for given in (mean, spread))
    if not training:
        reciprocal = tt.rsqrt(tt.add(reciprocal, eps))
    total = along = centred = None
    if mask[BIAS] or (mask[INPUT] and training):
        total = over_channels(tt, "sum", grad, dims)
    if mask[WEIGHT] or (mask[INPUT] and training):
        centred = tt.subtract(widen(tt, x), mean)
        along = tt.multiply(over_channels(tt, "sum", tt.multiply(grad, centred), dims), reciprocal)
    made = []
    if mask[INPUT]:
        scale = reciprocal if weight is None else tt.multiply(reciprocal, shaped(tt, weight, shape, tt.float32))
        if training:
            # What changes the statistics is taken away: (grad - mean(grad) - normal * mean(grad * normal)) * scale.
            share = tt.multiply(scale, -1 / (prod(input.shape) // channels[0]))
            rest = tt.multiply(tt.multiply(along, reciprocal), share)
            grad = tt.addcmul(tt.addcmul(tt.multiply(total, share), centred, rest, value=1.0), grad, scale, value=1.0)
        else:
            grad = tt.multiply(grad, scale)
        made.append(in_form_of(tt, grad, input))
    for place, found in ((WEIGHT, along), (BIAS, total)):
        if mask[place]:
            made.append(cast(tt, as_shape(tt, found, channels), dtype))
    return made
