"""Softmax and its logarithm, their gradients, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import math

import torch

from ..apart import AllBut
from ..conditions import FLOATS, Is, OneOf, ProgramCheck, SameDtype, SameShape
from ..meta import dtype_name
from ..registry import decomposed, lower
from ..samples import Sample, rand
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, contiguous, widen

aten = torch.ops.aten

INF = math.inf
ON_CPU = "only CUDA converts in the same kernel"


def scores():
    """Tensors and a dimension of each; the last one is refused."""
    for dtype in FLOATS:
        yield rand(7, dtype=dtype), 0
        yield rand(5, 7, dtype=dtype), 0
        yield rand(3, 40, 33, dtype=dtype, low=-8, high=8), -1
        yield rand(2, 3, 5, 7, dtype=dtype), 1
        yield rand(2, 2, 3, 5, 7, dtype=dtype), -2
    yield torch.tensor(0.5), 0
    yield torch.tensor([[1e30, 1.0], [-1e30, -INF], [-INF, -INF]]), -1
    yield rand(5, 7).double(), -1


def softmax_samples():
    for values, dim in scores():
        yield Sample(values, dim, False)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), -1, True)


@lower(
    aten._softmax.default,
    samples=softmax_samples,
    takes=FLOATS,
    chip=NAN_IS_A_NUMBER,
    when=[Is("half_to_float", False, because=ON_CPU)],
    apart=AllBut("self"),
)
def softmax(tt, self, dim):
    return tt.softmax(self, dim=dim, numeric_stable=True, compute_kernel_config=accurate(tt))


def safe_softmax_samples():
    for values, dim in scores():
        yield Sample(values, dim)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), -1, torch.float32)
    yield Sample(rand(5, 7), -1, torch.float64)


@lower(
    aten._safe_softmax.default,
    samples=safe_softmax_samples,
    takes=FLOATS,
    chip=NAN_IS_A_NUMBER,
    when=[OneOf("dtype", (None, *FLOATS))],
    apart=AllBut("self"),
)
def safe_softmax(tt, self, dim, dtype):
    if dtype is not None:
        self = cast(tt, self, tt.carrier(dtype))
    largest = tt.max(widen(tt, self), dim=dim, keepdim=True, compute_kernel_config=accurate(tt))
    return tt.where(tt.eq(largest, -INF, dtype=self.dtype), 0.0, softmax(tt, self, dim))


@lower(
    aten._log_softmax.default,
    samples=softmax_samples,
    takes=FLOATS,
    when=[Is("half_to_float", False, because=ON_CPU)],
    apart=AllBut("self"),
)
def log_softmax(tt, self, dim):
    settings = accurate(tt)
    values = widen(tt, self)
    values = tt.subtract(values, tt.max(values, dim=dim, keepdim=True, compute_kernel_config=settings))
    total = tt.sum(tt.exp(values), dim=dim, keepdim=True, compute_kernel_config=settings)
    return cast(tt, tt.subtract(values, tt.log(total)), self.dtype)


def gradients(forward):
    def samples():
        for values, dim in scores():
            if values.isfinite().all():
                yield Sample(rand(*values.shape, dtype=values.dtype), forward(values, dim), dim, values.dtype)
        yield Sample(rand(5, 7), forward(rand(5, 7), -1), -1, torch.float16)
        yield Sample(rand(5, 7), forward(rand(5, 7), -1), -1, torch.bfloat16)
        yield Sample(rand(5, 7), rand(5, 7, dtype=torch.bfloat16), -1, torch.float32)
        yield Sample(rand(5, 1), rand(5, 7), -1, torch.float32)

    return samples


def another_dtype(call):
    dtype = call["input_dtype"]
    return None if dtype is call["output"].dtype else dtype_name(dtype)


ONE = ("grad_output", "output")
GRADIENT = [
    OneOf("input_dtype", FLOATS),
    SameDtype(ONE),
    SameShape(ONE, because="PyTorch takes no others"),
    ProgramCheck("input_dtype is that of output", another_dtype, because="on CPU it is not looked at"),
]


@lower(aten._softmax_backward_data.default, samples=gradients(torch.softmax), takes=FLOATS, when=GRADIENT)
def softmax_backward(tt, grad_output, output, dim, input_dtype):
    output = widen(tt, output)
    weighted = tt.multiply(widen(tt, grad_output), output)
    total = tt.sum(weighted, dim=dim, keepdim=True, compute_kernel_config=accurate(tt))
    result = tt.subtract(weighted, tt.multiply(output, total))
    return cast(tt, result, tt.carrier(input_dtype))


@lower(
    aten._log_softmax_backward_data.default,
    samples=gradients(torch.log_softmax),
    takes=FLOATS,
    outputs=contiguous,
    when=GRADIENT,
)
def log_softmax_backward(tt, grad_output, output, dim, input_dtype):
    gradient = widen(tt, grad_output)
    total = tt.sum(gradient, dim=dim, keepdim=True, compute_kernel_config=accurate(tt))
    result = tt.subtract(gradient, tt.multiply(tt.exp(widen(tt, output)), total))
    return cast(tt, result, tt.carrier(input_dtype))


def logsumexp_samples():
    for values, dim in scores():
        yield Sample(values, [dim])
    yield Sample(rand(2, 40, 33, dtype=torch.bfloat16), [0, -1], True)
    yield Sample(rand(2, 3, 5, 7), [1, 3])


@lower(aten.logsumexp.default, samples=logsumexp_samples, takes=FLOATS)
def logsumexp(tt, self, dim, keepdim):
    return cast(tt, log_sum_exp(tt, widen(tt, self), dim, keepdim), self.dtype)


def log_sum_exp(tt, values, dim, keepdim):
    """Of float32 values; an infinite maximum is not subtracted, since that would give NaN."""
    settings = accurate(tt)
    largest = tt.max(values, dim=dim, keepdim=True, compute_kernel_config=settings)
    shift = tt.where(tt.isinf(largest), 0.0, largest)
    exponentials = tt.exp(tt.subtract(values, shift))
    total = tt.sum(exponentials, dim=dim, keepdim=keepdim, compute_kernel_config=settings)
    return tt.add(tt.log(total), as_shape(tt, shift, list(total.shape)))


def whole_softmax_samples():
    yield Sample(rand(5, 7), -1)
    yield Sample(rand(5, 7, dtype=torch.bfloat16), -1, torch.float32)


decomposed(
    aten.softmax.int,
    aten.log_softmax.int,
    because="a conversion to the dtype asked for, and the op of one dtype",
    samples=whole_softmax_samples,
)
