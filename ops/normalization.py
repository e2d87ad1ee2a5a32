"""Normalization over layers, groups of channels and batches."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, AtLeast, Check, Is, ProgramCheck
from ..meta import intern
from ..pytorch_private import suggest_memory_format
from ..registry import lower
from ..samples import Sample, ints, rand
from .vocabulary import accurate, as_shape, cast, reduce, widen

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16


def parameters(call):
    return [meta for name, meta in call.tensors() if name != "input"]


def other_dtypes(call):
    dtypes = {meta.dtype for meta in parameters(call)}
    if dtypes <= {call["input"].dtype} or dtypes == {torch.float32}:
        return None
    return ", ".join(map(str, [call["input"], *parameters(call)]))


EPSILON = AtLeast("eps", 0, because="one below 0 may take away all of a variance but its roundings")
ONE_DTYPE = ProgramCheck(
    "parameters all of the input's dtype or all float32", other_dtypes, because="PyTorch takes no others"
)


def statistics_on_cpu(call, outputs):
    """The statistics have the parameters' dtype, or the input's if there are none."""
    of = [*parameters(call), call["input"]][0]
    return [outputs[0], *(meta.like(of.dtype) for meta in outputs[1:])]


def statistics(tt, rows, mean, epsilon, shape, dtype):
    """Functions that make each row's mean, if there is none yet, and the reciprocal of its deviation, in a shape and
    dtype."""

    def means():
        return reduce(tt, "mean", widen(tt, rows), -1, keepdim=True) if mean is None else mean

    def reciprocal():
        squares = tt.square(tt.subtract(widen(tt, rows), means()))
        return tt.rsqrt(tt.add(reduce(tt, "mean", squares, -1, keepdim=True), epsilon))

    return [lambda make=make: cast(tt, as_shape(tt, make(), shape), dtype) for make in (means, reciprocal)]


def normalized(tt, rows, epsilon, weight=None, bias=None):
    """Each row by its own statistics; and the mean of each if it was made.

    ttnn's kernel cuts float32 numbers to three digits before it takes the mean from them, and if that is large, nothing
    is left of what they differ by: such rows go there less their mean. Those in bfloat16 are not cut.
    """
    mean = None
    if rows.dtype == tt.float32:
        mean = reduce(tt, "mean", rows, -1, keepdim=True)
        rows = tt.subtract(rows, mean)
    out = tt.layer_norm(rows, epsilon=epsilon, weight=weight, bias=bias, compute_kernel_config=accurate(tt))
    return out, mean


def dtype_of(x, *given):
    return next((parameter.dtype for parameter in given if parameter is not None), x.dtype)


def shaped(tt, parameter, shape, dtype):
    """A parameter in a shape and dtype, made once while its upload is kept; None stays None."""
    if parameter is None:
        return None
    return tt.prepared(parameter, (*shape, dtype), lambda: as_shape(tt, cast(tt, parameter, dtype), shape))


def scaled(tt, x, weight, bias, shape):
    """float32 values, times a weight and plus a bias for each channel."""
    if weight is not None:
        x = tt.multiply(x, shaped(tt, weight, shape, tt.float32))
    return x if bias is None else tt.add(x, shaped(tt, bias, shape, tt.float32))


def layer_norm_samples():
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [7], rand(7, dtype=dtype), rand(7, dtype=dtype), 1e-5)
        yield Sample(rand(2, 3, 40, dtype=dtype), [40], rand(40, dtype=dtype), None, 1e-2)
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), [5, 7], rand(5, 7, dtype=dtype), rand(5, 7, dtype=dtype), 1e-5)
        yield Sample(rand(9, dtype=dtype), [9], None, rand(9, dtype=dtype), 1e-5)
        yield Sample(rand(2, 33, 64, dtype=dtype), [33, 64], None, None, 1e-5)
    yield Sample(1000 + ints(5, 8, low=-64, high=64) / 64, [8], None, None, 1e-5)  # the means have no rounding on CPU
    yield Sample(rand(5, 1), [1], rand(1), None, 1e-5)
    yield Sample(rand(5, 7, dtype=BFLOAT16), [7], rand(7), rand(7), 1e-5)
    yield Sample(rand(5, 7), [7], rand(7, dtype=BFLOAT16), None, 1e-5)
    yield Sample(rand(5, 7).double(), [7], None, None, 1e-5)
    yield Sample(rand(5, 7), [7], None, None, -1e-5)


@lower(
    aten.native_layer_norm.default,
    samples=layer_norm_samples,
    outputs=statistics_on_cpu,
    takes=FLOATS,
    when=[ONE_DTYPE, EPSILON],
)
def native_layer_norm(tt, input, normalized_shape, weight, bias, eps):
    dims, size = len(normalized_shape), prod(normalized_shape)
    shape = list(input.shape)
    lead = shape[: len(shape) - dims]
    rows = input if dims == 1 else as_shape(tt, input, [*lead, size])
    dtype = dtype_of(rows, weight, bias)
    given = [shaped(tt, value, [size], dtype) for value in (weight, bias)]
    out, mean = normalized(tt, cast(tt, rows, dtype), eps, *given)
    found = statistics(tt, rows, mean, eps, [*lead, *[1] * dims], dtype)
    out = cast(tt, out, rows.dtype)
    return out if dims == 1 else as_shape(tt, out, shape), *found


def group_norm_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 6, 5, 7, dtype=dtype), rand(6, dtype=dtype), rand(6, dtype=dtype), 2, 6, 35, 3, 1e-5)
        yield Sample(rand(3, 4, dtype=dtype), None, None, 3, 4, 1, 2, 1e-2)
        yield Sample(rand(2, 8, 40, dtype=dtype), None, rand(8, dtype=dtype), 2, 8, 40, 1, 1e-5)
    yield Sample(rand(2, 4, 2, 3, 3), rand(4), None, 2, 4, 18, 4, 1e-5)
    yield Sample(rand(2, 4, 5, 3, dtype=BFLOAT16), rand(4), rand(4), 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), rand(4, dtype=BFLOAT16), None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3).double(), None, None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), None, None, -2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), rand(1), None, 2, 4, 15, 2, 1e-5)
    yield Sample(rand(2, 4, 5, 3), None, None, 2, 4, 15, 2, -1e-5)


def other_sizes(call):
    shape, sizes = call["input"].shape, [call["N"], call["C"], call["HxW"]]
    return None if sizes == [*shape[:2], prod(shape[2:])] else f"{sizes} for {call['input']}"


def odd_parameter(call):
    """A parameter or statistic that does not have one number for each channel."""
    channels = call["input"].shape[1]
    names = [name for name in ("weight", "bias", "running_mean", "running_var") if name in call.arguments]
    return next((f"{name} {meta}" for name, meta in call.tensors(*names) if meta.shape != (channels,)), None)


ONE_EACH = Check("one number for each channel in each parameter", odd_parameter, because="PyTorch takes no others")


@lower(
    aten.native_group_norm.default,
    samples=group_norm_samples,
    outputs=statistics_on_cpu,
    takes=FLOATS,
    when=[
        ONE_DTYPE,
        Check("N, C and HxW as the input has them", other_sizes, because="PyTorch takes no others"),
        ONE_EACH,
        EPSILON,
    ],
)
def native_group_norm(tt, input, weight, bias, N, C, HxW, group, eps):
    rows = as_shape(tt, input, [N, group, C // group * HxW])
    out, mean = normalized(tt, widen(tt, rows), eps)
    out = cast(tt, scaled(tt, as_shape(tt, out, [N, C, HxW]), weight, bias, [1, C, 1]), input.dtype)
    found = statistics(tt, rows, mean, eps, [N, group], dtype_of(rows, weight, bias))
    return as_shape(tt, out, input.shape), *found


BATCH_NORM = [
    ONE_DTYPE,
    ONE_EACH,
    EPSILON,
]


def batch_norm(tt, x, weight, bias, mean, variance, eps):
    """By the running statistics."""
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


def batch_norm_of_itself(tt, x, weight, bias, eps, *running):
    """By the batch's own statistics, and these."""
    n, channels, *rest = x.shape
    rows = as_shape(tt, x, [n, channels, prod(rest)])
    rows = as_shape(tt, tt.transpose(rows, 0, 1) if n > 1 else rows, [channels, n * prod(rest)])
    out, mean = normalized(tt, widen(tt, rows), eps)
    out = as_shape(tt, out, [channels, n, prod(rest)])
    out = as_shape(tt, tt.transpose(out, 0, 1) if n > 1 else out, x.shape)
    out = cast(tt, scaled(tt, out, weight, bias, [1, channels, *[1] * len(rest)]), x.dtype)
    return out, *statistics(tt, rows, mean, eps, [channels], dtype_of(x, weight, bias, *running))


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
    takes=FLOATS,
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
        return batch_norm_of_itself(tt, input, weight, bias, eps)
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
    takes=FLOATS,
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
    when=[ONE_DTYPE, ONE_EACH, EPSILON, Is("training", True)],
)
def native_batch_norm_legit_no_stats(tt, input, weight, bias, momentum, eps):
    del momentum
    return batch_norm_of_itself(tt, input, weight, bias, eps)
