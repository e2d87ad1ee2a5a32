"""The parts of dropout and batch normalization in training, as AOTAutograd and autograd call them."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS
from ..meta import intern
from ..registry import decomposed, lower
from ..samples import Sample, bools, rand
from .batch_norm import BATCH_NORM, IMAGES, batch_norm, batch_norm_of_itself, batch_norm_on_cpu
from .normalization import dtype_of
from .vocabulary import NAN_IS_A_NUMBER, as_shape, cast, widen

aten = torch.ops.aten


def dropped():
    yield Sample(rand(4, 5), bools(4, 5), 2.0)


decomposed(aten.native_dropout_backward.default, because="a product of three", samples=dropped)


def functional_samples():
    for dtype in FLOATS:
        for training in (True, False):
            given = [rand(3, low=0.1, dtype=dtype) for _ in range(4)]
            yield Sample(rand(2, 3, 4, 5, dtype=dtype), *given, training, 0.1, 1e-5)
            yield Sample(rand(2, 3, 4, 5, dtype=dtype), None, None, *given[2:], training, 0.25, 1e-2)
    yield Sample(rand(2, 3, 4, 5, dtype=torch.bfloat16), None, None, *[rand(3, low=0.1)] * 2, True, 0.1, 1e-5)
    yield Sample(rand(5, 3), *[rand(3, low=0.1) for _ in range(4)], True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5, dtype=torch.bfloat16), *[rand(3, low=0.1) for _ in range(4)], True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), *[rand(3, low=0.1, dtype=torch.bfloat16) for _ in range(4)], True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5).double(), None, None, rand(3).double(), rand(3).double(), True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), rand(2), None, rand(3), rand(3), True, 0.1, 1e-5)
    yield Sample(rand(2, 3, 4, 5), None, None, rand(3), rand(3), True, 0.1, -1.0)


def functional_on_cpu(call, outputs):
    """The running statistics that are returned have the dtype of those that were given."""
    given = [call["running_mean"], call["running_var"]]
    return [*batch_norm_on_cpu(call, outputs[:3]), *(intern(m.dtype, m.shape, (1,)) for m in given)]


@lower(
    aten._native_batch_norm_legit_functional.default,
    samples=functional_samples,
    outputs=functional_on_cpu,
    takes=IMAGES,
    chip=f"in training, {NAN_IS_A_NUMBER}",
    when=BATCH_NORM,
)
def batch_norm_functional(tt, input, weight, bias, running_mean, running_var, training, momentum, eps):
    if not training:
        out = batch_norm(tt, input, weight, bias, running_mean, running_var, eps)
        return out, None, None, running_mean, running_var
    out, mean, variance, reciprocal = batch_norm_of_itself(tt, input, weight, bias, eps)
    channels = input.shape[1]
    size = prod(input.shape) // channels
    dtype = dtype_of(input, weight, bias, running_mean, running_var)

    def found(of_batch):
        return as_shape(tt, of_batch, [channels])

    def moved(running, of_batch, share):
        kept = tt.multiply(widen(tt, running), 1 - momentum)
        return cast(tt, tt.add(kept, tt.multiply(found(of_batch), share)), running.dtype)

    return (
        out,
        lambda: cast(tt, found(mean), dtype),
        lambda: cast(tt, found(reciprocal), dtype),
        lambda: moved(running_mean, mean, momentum),
        lambda: moved(running_var, variance, momentum * size / max(size - 1, 1)),  # with Bessel's correction
    )


def legit(input, weight, bias, running_mean, running_var, training, momentum, eps):
    return aten.native_batch_norm.default(input, weight, bias, running_mean, running_var, training, momentum, eps)


def with_update(input, weight, bias, running_mean, running_var, momentum, eps):
    made = legit(input, weight, bias, running_mean, running_var, True, momentum, eps)
    return *made, torch.empty(0, dtype=torch.uint8)


def with_update_samples():
    for sample in functional_samples():
        *tensors, training, momentum, eps = sample.args
        if training:
            yield Sample(*tensors, momentum, eps)


decomposed(
    aten._native_batch_norm_legit.default,
    because="native_batch_norm, which also writes the statistics",
    samples=functional_samples,
    into=legit,
)
decomposed(
    aten._batch_norm_with_update.default,
    because="native_batch_norm in training",
    samples=with_update_samples,
    into=with_update,
)
