"""Batch norms, with running statistics and without."""

from __future__ import annotations

from math import prod

import torch

from ..apart import batch
from ..conditions import FLOATS, Check, InParts, Is
from ..images import Image
from ..meta import intern
from ..pytorch_private import suggest_memory_format
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Taken, Tensor
from .normalization import (
    EPSILON,
    ONE_DTYPE,
    ONE_EACH,
    dtype_of,
    scaled,
    shaped,
    statistics_on_cpu,
)
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, reduce, shape_of, widen

aten = torch.ops.aten

BFLOAT16 = torch.bfloat16


IMAGE = Tensor(FLOATS, images=lambda call: True)
IMAGES: dict[str, Taken] = {"input": IMAGE, **dict.fromkeys(("weight", "bias", "running_mean", "running_var"), FLOATS)}
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
        shift = tt.neg(shift) if plus is None else tt.subtract(plus, shift)
        return cast(tt, scale, working), cast(tt, shift, working)

    # Where float32 work is carried in bfloat16, the image stays as it is: two calls less than to widen and narrow it.
    working = tt.carrier(torch.float32)
    key = ("scale and shift", eps, weight is None, len(shape))
    scale, shift = tt.prepared(given[0], key, scale_and_shift, given[1:])
    return cast(tt, tt.addcmul(shift, cast(tt, x, working), scale, value=1.0), x.dtype)


def by_channel(tt, x):
    """A value of an input or image, the dimensions that each channel's elements lie along, and one number's shape."""
    if isinstance(x, Image):
        value = x.value
        lead = list(value.shape)[:-1]
        return value, range(len(lead)), [1] * len(lead) + [x.shape[1]]
    n, channels, *rest = shape_of(x)
    if not rest:
        return x, (0,), [1, channels]
    return as_shape(tt, x, [n, channels, prod(rest)]), (0, 2), [1, channels, 1]


def over_channels(tt, name, x, dims):
    """The sum or mean of each channel's elements: along one dimension after the other, which is the least to move."""
    for dim in reversed(dims):
        if x.shape[dim] > 1:
            x = reduce(tt, name, x, dim, keepdim=True)
    return x


def in_form_of(tt, value, x):
    """What was computed of the value of `x`, in its form and dtype."""
    value = cast(tt, value, x.dtype)
    return x.like(value) if isinstance(x, Image) else as_shape(tt, value, x.shape)


def batch_norm_of_itself(tt, input, weight, bias, eps):
    """By the batch's own statistics; and these: the mean, the variance and the reciprocal deviation of each channel."""
    x, dims, shape = by_channel(tt, input)
    x = widen(tt, x)
    mean = over_channels(tt, "mean", x, dims)
    centred = tt.subtract(x, mean)
    variance = over_channels(tt, "mean", tt.square(centred), dims)
    rest = None
    if input.dtype == tt.float32:
        # A large mean is rounded by more than elements differ: what it leaves of itself is taken away too.
        rest = over_channels(tt, "mean", centred, dims)
        mean, variance = tt.add(mean, rest), tt.subtract(variance, tt.square(rest))
    reciprocal = tt.rsqrt(tt.add(variance, eps))
    scale = reciprocal if weight is None else tt.multiply(reciprocal, shaped(tt, weight, shape, tt.float32))
    shift = None if bias is None else shaped(tt, bias, shape, tt.float32)
    if rest is not None:
        moved = tt.multiply(rest, scale)
        shift = tt.neg(moved) if shift is None else tt.subtract(shift, moved)
    out = tt.multiply(centred, scale) if shift is None else tt.addcmul(shift, centred, scale, value=1.0)
    return in_form_of(tt, out, input), mean, variance, reciprocal


def of_itself(tt, x, weight, bias, eps):
    out, mean, _, reciprocal = batch_norm_of_itself(tt, x, weight, bias, eps)
    dtype, channels = dtype_of(x, weight, bias), [x.shape[1]]
    return out, *(lambda found=found: cast(tt, as_shape(tt, found, channels), dtype) for found in (mean, reciprocal))


def batch_norm_on_cpu(call, outputs):
    """The output is channels-last if the input is; running statistics leave no others."""
    out, *found = statistics_on_cpu(call, outputs)
    out = intern(out.dtype, out.shape, strides_on_cpu(call["input"]))
    if not call.arguments.get("training"):
        found = [intern(meta.dtype, (0,), (1,)) for meta in found]
    return [out, *found]


def strides_on_cpu(input):
    """The strides in which CPU keeps the input's memory format."""
    image = input.on_meta()
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(image.ndim)
    if image.is_contiguous():
        form = torch.contiguous_format
    elif last is not None and image.is_contiguous(memory_format=last):
        form = last  # also where a dimension of one element keeps PyTorch's own suggestion from seeing it
    else:
        form = suggest_memory_format(image)
    return torch.empty(image.shape, device="meta", memory_format=form).stride()


def one_alone(call):
    given = call["running_mean"], call["running_var"]
    return ", ".join(map(str, given)) if given.count(None) == 1 else None


def updated(call):
    given = call["running_mean"], call["running_var"]
    return ", ".join(map(str, given)) if call["training"] and given != (None, None) else None


def updating(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """In training, with statistics to keep up to date."""
    given = input, weight, bias, running_mean, running_var, training, momentum, eps
    *made, mean, variance = aten._native_batch_norm_legit_functional.default(*given)
    running_mean.copy_(mean)
    running_var.copy_(variance)
    return tuple(made)


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
    yield Sample(rand(2, 3, 4, 5), *channels(3)[:3], None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5).double(), None, None, None, None, True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), rand(1), None, *channels(3)[2:], False, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), *channels(3), False, 0.1, -1e-5)


def batch_in_use(call, outputs):
    """The batch, if the statistics are not its own."""
    return None if call["training"] else batch("input")(call, outputs)


@lower(
    aten.native_batch_norm.default,
    samples=batch_norm_samples,
    outputs=batch_norm_on_cpu,
    takes=IMAGES,
    chip=f"in training, {NAN_IS_A_NUMBER}",
    when=[
        *BATCH_NORM,
        Check("both running statistics, or none", one_alone, because="PyTorch's layers have no others"),
        InParts(
            "no running statistics in training",
            updated,
            because="a functional op makes the new ones, which are copied into them",
            into=updating,
        ),
    ],
    apart=batch_in_use,
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
    apart=batch("input"),
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
    takes={"input": IMAGE, "weight": FLOATS, "bias": FLOATS},
    chip=NAN_IS_A_NUMBER,
    when=[ONE_DTYPE, ONE_EACH, EPSILON, Is("training", True)],
)
def native_batch_norm_legit_no_stats(tt, input, weight, bias, momentum, eps):
    del momentum
    return of_itself(tt, input, weight, bias, eps)
