"""Max unpooling: each place takes the last element that its image's indices send there, or none."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS
from ..meta import intern
from ..pytorch_private import suggest_memory_format
from ..registry import lower
from ..samples import Sample, ints, rand
from ..specs import Places
from .vocabulary import as_shape

aten = torch.ops.aten

NAN, INF = float("nan"), float("inf")


def unpool_samples(dims):
    def samples():
        more, ones = [2] * (dims - 2), ([[2, 2, 2], [0, 0, 0]] if dims == 3 else [])
        for dtype in FLOATS:
            yield Sample(
                rand(2, 3, *more, 4, 5, dtype=dtype),
                ints(2, 3, *more, 4, 5, high=80),
                [*more, 8, 10],
                *ones,
            )
            yield Sample(
                rand(3, *more, 5, 7, dtype=dtype),
                torch.arange(prod(more) * 140)[::4].flip(0).view(1, *more, 5, 7).repeat(3, *[1] * dims),
                [*more, 10, 14],
                *ones,
            )
        shape = [1, 2, *more, 3, 3]
        whole = [*more, 6, 6]
        yield Sample(torch.tensor([NAN, INF, -INF, -0.0] * 9)[: prod(shape)].view(shape), ints(*shape), whole, *ones)
        yield Sample(rand(*shape), torch.zeros(shape, dtype=torch.int64), whole, *ones)
        if dims == 2:
            turned = rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
            yield Sample(turned, ints(2, 3, 4, 5, high=80), [8, 10])
        yield Sample(rand(*shape).double(), ints(*shape), whole, *ones)
        yield Sample(rand(*shape), ints(*shape, dtype=torch.int32), whole, *ones)

    return samples


def unpool(tt, self, indices, output_size):
    dims = len(output_size)
    outer, sizes = list(self.shape)[:-dims], list(self.shape)[-dims:]
    images = as_shape(tt, self, [prod(outer), prod(sizes)])
    # Where no element goes, the indices name the zero behind them.
    images = tt.pad(images, [(0, 0), (0, 1)], 0)
    return as_shape(tt, tt.gather(images, 1, index=indices), [*outer, *output_size])


def options(dims):
    return {
        "samples": unpool_samples(dims),
        "takes": {
            "self": FLOATS,
            "indices": Places((torch.int64,), into=lambda call: (prod(call["output_size"]), dims)),
        },
    }


def unpooled_on_cpu(call, outputs):
    """Channels last if the input is so."""
    form = suggest_memory_format(call["self"].on_meta())
    (out,) = outputs
    return [intern(out.dtype, out.shape, torch.empty(out.shape, device="meta", memory_format=form).stride())]


@lower(aten.max_unpool2d.default, **options(2), outputs=unpooled_on_cpu)
def max_unpool2d(tt, self, indices, output_size):
    return unpool(tt, self, indices, output_size)


@lower(aten.max_unpool3d.default, **options(3))
def max_unpool3d(tt, self, indices, output_size, stride, padding):
    # PyTorch checks stride and padding, and has no other use for them.
    return unpool(tt, self, indices, output_size)
