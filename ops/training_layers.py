"""The parts of dropout and batch normalization in training, as AOTAutograd and autograd call them."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS
from ..meta import intern
from ..registry import decomposed, lower
from ..samples import Sample, bools, rand
from .batch_norm import BATCH_NORM, batch_norm, batch_norm_of_itself, batch_norm_on_cpu
from .normalization import dtype_of
from .vocabulary import NAN_IS_A_NUMBER, as_shape, cast, widen

aten = torch.ops.aten


def dropped():
    yield Sample(rand(4, 5), bools(4, 5), 2.0)


def normalized_backward():
    statistics = [rand(3), rand(3, low=0.1), rand(3), rand(3, low=0.1)]
    yield Sample(rand(2, 3, 4, 5), rand(2, 3, 4, 5), rand(3), *statistics, True, 1e-5, [True, True, True])
    yield Sample(rand(2, 3, 4, 5), rand(2, 3, 4, 5), None, *statistics, False, 1e-5, [True, False, False])


decomposed(aten.native_dropout_backward.default, because="a product of three", samples=dropped)
decomposed(
    aten.native_batch_norm_backward.default,
    because="sums and products of the gradient and the input",
    samples=normalized_backward,
)


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
    takes=FLOATS,
    chip=f"in training, {NAN_IS_A_NUMBER}",
    when=BATCH_NORM,
)
def batch_norm_functional(tt, input, weight, bias, running_mean, running_var, training, momentum, eps):
    if not training:
        out = batch_norm(tt, input, weight, bias, running_mean, running_var, eps)
        return out, None, None, running_mean, running_var
    out, found = batch_norm_of_itself(tt, input, weight, bias, eps)
    channels = input.shape[1]
    size = prod(input.shape) // channels
    dtype = dtype_of(input, weight, bias, running_mean, running_var)
    mean, reciprocal = found.saved(eps, [channels], dtype)

    def moved(running, of_batch, share):
        kept = tt.multiply(widen(tt, running), 1 - momentum)
        return cast(tt, tt.add(kept, tt.multiply(as_shape(tt, of_batch, [channels]), share)), running.dtype)

    return (
        out,
        mean,
        reciprocal,
        lambda: moved(running_mean, found.mean(), momentum),
        lambda: moved(running_var, found.variance(), momentum * size / max(size - 1, 1)),  # with Bessel's correction
    )
