"""Batch norms, with running statistics and without."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, Check, Is
from ..images import Image
from ..meta import intern
from ..pytorch_private import suggest_memory_format
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from .normalization import (
    EPSILON,
    ONE_DTYPE,
    ONE_EACH,
    Statistics,
    dtype_of,
    normalized,
    scaled,
    shaped,
    statistics_on_cpu,
)
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, shape_of, widen

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16


def by_running_statistics(call):
    return not call.arguments.get("training")


IMAGES = {
    name: Tensor(FLOATS, images=by_running_statistics) if name == "input" else FLOATS
    for name in ("input", "weight", "bias", "running_mean", "running_var")
}
BATCH_NORM = [
    ONE_DTYPE,
    ONE_EACH,
    EPSILON,
]


def batch_norm(tt, x, weight, bias, mean, variance, eps):
    """By the running statistics."""
    if isinstance(x, Image):
        return x.like(batch_norm_of_rows(tt, x.value, weight, bias, mean, variance, eps))
    given = (mean, variance, weight, bias)
    dtype, shape = dtype_of(x, *given), [1, x.shape[1], *[1] * (len(x.shape) - 2)]
    if len(shape) == 4:
        mean, variance, weight, bias = (shaped(tt, value, shape, dtype) for value in given)
        out = tt.batch_norm(
            cast(tt, x, dtype),
            running_mean=mean,
            running_var=variance,
            weight=weight,
            bias=bias,
            eps=eps,
            compute_kernel_config=accurate(tt),
        )
        return cast(tt, out, x.dtype)
    scale = tt.rsqrt(tt.add(shaped(tt, variance, shape, tt.float32), eps))
    if weight is not None:
        scale = tt.multiply(scale, shaped(tt, weight, shape, tt.float32))
    centred = tt.subtract(widen(tt, x), shaped(tt, mean, shape, tt.float32))
    return cast(tt, scaled(tt, tt.multiply(centred, scale), None, bias, shape), x.dtype)


def batch_norm_of_rows(tt, x, weight, bias, mean, variance, eps):
    """By the running statistics, with the channels last: times a scale and plus a shift, as PyTorch's kernel does."""
    # A layer's own weight comes first: equal statistics of several layers share an upload.
    given = tuple(value for value in (weight, bias, mean, variance) if value is not None)
    shape = [1] * (len(x.shape) - 1) + [x.shape[-1]]

    def scale_and_shift():
        at, spread, times, plus = (
            None if value is None else as_shape(tt, widen(tt, value), shape) for value in (mean, variance, weight, bias)
        )
        scale = tt.rsqrt(tt.add(spread, eps))
        scale = scale if times is None else tt.multiply(scale, times)
        shift = tt.multiply(at, scale)
        return scale, tt.neg(shift) if plus is None else tt.subtract(plus, shift)

    key = ("scale and shift", eps, weight is None, len(shape))
    scale, shift = tt.prepared(given[0], key, scale_and_shift, given[1:])
    return cast(tt, tt.addcmul(shift, widen(tt, x), scale, value=1.0), x.dtype)


def batch_norm_of_itself(tt, x, weight, bias, eps):
    """By the batch's own statistics, and the `Statistics` of the channels."""
    n, channels, *rest = shape_of(x)
    rows = as_shape(tt, x, [n, channels, prod(rest)])
    rows = as_shape(tt, tt.transpose(rows, 0, 1) if n > 1 else rows, [channels, n * prod(rest)])
    out, mean = normalized(tt, widen(tt, rows), eps)
    out = as_shape(tt, out, [channels, n, prod(rest)])
    out = as_shape(tt, tt.transpose(out, 0, 1) if n > 1 else out, x.shape)
    out = cast(tt, scaled(tt, out, weight, bias, [1, channels, *[1] * len(rest)]), x.dtype)
    return out, Statistics(tt, rows, mean)


def of_itself(tt, x, weight, bias, eps):
    out, found = batch_norm_of_itself(tt, x, weight, bias, eps)
    return out, *found.saved(eps, [x.shape[1]], dtype_of(x, weight, bias))


def batch_norm_on_cpu(call, outputs):
    """The output is channels-last if the input is; running statistics leave no others."""
    out, *found = statistics_on_cpu(call, outputs)
    image = call["input"].on_meta()
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(image.ndim)
    if image.is_contiguous():
        form = torch.contiguous_format
    elif last is not None and image.is_contiguous(memory_format=last):
        form = last  # also where a dimension of one element keeps PyTorch's own suggestion from seeing it
    else:
        form = suggest_memory_format(image)
    out = intern(out.dtype, out.shape, torch.empty(out.shape, device="meta", memory_format=form).stride())
    if not call.arguments.get("training"):
        found = [intern(meta.dtype, (0,), (1,)) for meta in found]
    return [out, *found]


def updated(call):
    given = call["running_mean"], call["running_var"]
    return f"training with {', '.join(map(str, given))}" if call["training"] and given != (None, None) else None


def batch_norm_samples():
    def channels(n, **like):
        return [rand(n, low=low, high=2, **like) for low in (-2, -2, -2, 0.1)]

    for dtype in FLOATS:
        x = rand(2, 6, 5, 7, dtype=dtype)
        yield Sample(x, *channels(6, dtype=dtype), False, 0.1, 1e-5)
        yield Sample(x.contiguous(memory_format=torch.channels_last), *channels(6, dtype=dtype), False, 0.1, 1e-2)
        yield Sample(rand(5, 7, dtype=dtype), *channels(7, dtype=dtype), False, 0.1, 1e-5)
        yield Sample(x, None, None, *channels(6, dtype=dtype)[2:], False, 0.1, 1e-5)
        yield Sample(x, *channels(6, dtype=dtype)[:2], None, None, True, 0.1, 1e-5)
        yield Sample(rand(1, 40, 9, dtype=dtype), None, None, None, None, True, 0.1, 1e-2)
    yield Sample(rand(2, 3, 9), None, *channels(3)[1:], False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 2, 5, 4), *channels(3), False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 2, 5, 4), None, rand(3), None, None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5).mT, *channels(3), False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5, dtype=BFLOAT16), *channels(3), False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5, dtype=BFLOAT16), rand(3), None, None, None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), *channels(3, dtype=BFLOAT16), False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), *channels(3), True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5).double(), None, None, None, None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), rand(1), None, *channels(3)[2:], False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), *channels(3), False, 0.1, -1e-5)


@lower(
    aten.native_batch_norm.default,
    samples=batch_norm_samples,
    outputs=batch_norm_on_cpu,
    takes=IMAGES,
    chip=f"in training, {NAN_IS_A_NUMBER}",
    when=[
        *BATCH_NORM,
        Check(
            "no running statistics in training", updated, because="it writes to them, and the schema does not say so"
        ),
    ],
)
def native_batch_norm(tt, input, weight, bias, running_mean, running_var, training, momentum, eps):
    del momentum  # of the running statistics
    if training:
        return of_itself(tt, input, weight, bias, eps)
    return batch_norm(tt, input, weight, bias, running_mean, running_var, eps), None, None


def no_training_samples():
    for sample in batch_norm_samples():
        *tensors, training, momentum, eps = sample.args
        if not training:
            yield Sample(*tensors, momentum, eps)
    yield Sample(rand(2, 3).double(), None, None, rand(3).double(), rand(3).double(), 0.1, 1e-5)


@lower(
    aten._native_batch_norm_legit_no_training.default,
    samples=no_training_samples,
    outputs=batch_norm_on_cpu,
    takes=IMAGES,
    when=BATCH_NORM,
)
def native_batch_norm_legit_no_training(tt, input, weight, bias, running_mean, running_var, momentum, eps):
    del momentum
    return batch_norm(tt, input, weight, bias, running_mean, running_var, eps), None, None


def no_stats_samples():
    for sample in batch_norm_samples():
        x, weight, bias, mean, _, *rest = sample.args
        if mean is None:
            yield Sample(x, weight, bias, *rest)
    yield Sample(rand(2, 3, 4, 5), rand(3, dtype=BFLOAT16), None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), rand(1), None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), None, None, False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), None, None, True, 0.1, -1.0)


@lower(
    aten._native_batch_norm_legit.no_stats,
    samples=no_stats_samples,
    outputs=batch_norm_on_cpu,
    takes=FLOATS,
    chip=NAN_IS_A_NUMBER,
    when=[ONE_DTYPE, ONE_EACH, EPSILON, Is("training", True)],
)
def native_batch_norm_legit_no_stats(tt, input, weight, bias, momentum, eps):
    del momentum
    return of_itself(tt, input, weight, bias, eps)
