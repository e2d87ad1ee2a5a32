"""Ops that make tensors from nothing: most on the host, and uploaded when the device first needs them."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, OneOf
from ..registry import cpu_only, lower
from ..samples import Sample, rand
from .copies import CPU

aten = torch.ops.aten

FROM_NOTHING = "it has no input on the device; the result is uploaded when the device needs it"


def sizes():
    yield Sample([4, 5])


def filled():
    yield Sample([4, 5], 2.0)


def like():
    yield Sample(rand(4, 5))


def like_sized():
    yield Sample(rand(4, 5), [3])


def zero_samples():
    for dtype in FLOATS:
        yield Sample([4, 5], dtype=dtype)
        yield Sample([2, 3, 33, 40], dtype=dtype, device=CPU, pin_memory=False)
        yield Sample([], dtype=dtype, layout=torch.strided)
    yield Sample([4, 5])
    yield Sample([4, 5], dtype=torch.float64)
    yield Sample([4, 5], dtype=torch.float32, device=torch.device("meta"))
    yield Sample([4, 5], dtype=torch.float32, layout=torch.sparse_coo)
    yield Sample([4, 5], dtype=torch.float32, pin_memory=True)


@lower(
    aten.zeros.default,
    samples=zero_samples,
    when=[
        OneOf("dtype", FLOATS, because="others, and what the default makes of None, are uploaded when they are needed"),
        OneOf("layout", (None, torch.strided)),
        OneOf("device", (None, CPU)),
        OneOf("pin_memory", (None, False)),
    ],
)
def zeros(tt, size, dtype, layout, device, pin_memory):
    # On the device, so that a cache of keys and values is written to there.
    return lambda: tt.constant(torch.zeros(size, dtype=dtype))


cpu_only(aten.empty.memory_format, aten.ones.default, because=FROM_NOTHING, samples=sizes)
cpu_only(aten.full.default, because=FROM_NOTHING, samples=filled)
cpu_only(aten.empty_strided.default, because=FROM_NOTHING, samples=lambda: [Sample([4, 5], [5, 1])])
cpu_only(aten.scalar_tensor.default, because=FROM_NOTHING, samples=lambda: [Sample(2.0)])
cpu_only(aten.eye.default, because=FROM_NOTHING, samples=lambda: [Sample(4)])
cpu_only(aten.eye.m, because=FROM_NOTHING, samples=lambda: [Sample(4, 5)])
cpu_only(aten.arange.default, because=FROM_NOTHING, samples=lambda: [Sample(8)])
cpu_only(aten.arange.start, because=FROM_NOTHING, samples=lambda: [Sample(2, 8)])
cpu_only(aten.arange.start_step, because=FROM_NOTHING, samples=lambda: [Sample(2, 8, 3)])
cpu_only(aten.linspace.default, because=FROM_NOTHING, samples=lambda: [Sample(0.0, 1.0, 5)])
cpu_only(aten.empty_like.default, aten.zeros_like.default, aten.ones_like.default, because=FROM_NOTHING, samples=like)
cpu_only(aten.full_like.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5), 2.0)])
cpu_only(
    aten.new_empty.default, aten.new_zeros.default, aten.new_ones.default, because=FROM_NOTHING, samples=like_sized
)
cpu_only(aten.new_full.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5), [3], 2.0)])
cpu_only(aten.new_empty_strided.default, because=FROM_NOTHING, samples=lambda: [Sample(rand(4, 5), [3, 2], [2, 1])])
