"""Interpolation of sequences and images: nearest by moving elements, linear and cubic by two matrix products."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..call import Call
from ..conditions import FLOATS, Check, Dtype
from ..registry import lower
from ..samples import Sample, rand
from ._resample import sources, sources_in_channels_last, take, weigh, weights
from .views import as_shape

aten = torch.ops.aten

FLOATING = [Dtype("self", FLOATS)]
LAST = torch.channels_last


def of_other_kernel(op: Callable[..., torch.Tensor], names: tuple[str, ...]) -> Check:
    """The condition that PyTorch's kernel for channels-last tensors, if it is taken, takes the usual elements."""

    def other_elements(call: Call) -> str | None:
        x, output, scales = call["self"], call["output_size"], [call[name] for name in names]
        in_last = torch.channels_last if len(names) == 2 else torch.channels_last_3d
        if x.shape[1] <= 3 or not x.on_meta().is_contiguous(memory_format=in_last):
            return None
        differs = any(
            sources(op, dim, size, output, scales) != sources_in_channels_last(op, dim, size, output, scales)
            for dim, size in enumerate(x.shape[2:])
        )
        return f"{x} to {list(output)} by {scales}" if differs else None

    return Check(
        "the same elements as of a contiguous tensor",
        other_elements,
        because="PyTorch rounds otherwise, or passes over the scale, where a tensor is channels-last",
    )


def nearest_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), [10, 14])
        yield Sample(rand(1, 2, 13, 33, dtype=dtype), [25, 40])
        yield Sample(rand(2, 2, 8, 9, dtype=dtype), [4, 3], None, None)
        yield Sample(rand(1, 3, 7, 6, dtype=dtype), [10, 15], 1.5, 2.5)
        yield Sample(rand(1, 5, 7, 6, dtype=dtype).contiguous(memory_format=LAST), [10, 15], 1.5, 2.5)
    yield Sample(rand(1, 3, 6, 7), [6, 7])
    yield Sample(rand(1, 5, 6, 9), [12, 9], 2.1, 1.1)
    yield Sample(rand(1, 3, 3, 4), [7, 11], 2.5, 2.9)
    yield Sample(rand(1, 3, 6, 7), [1, 1])
    yield Sample(rand(1, 1, 100, 40), [100, 80], 1.009, 2.02)
    yield Sample(rand(1, 4, 100, 40).contiguous(memory_format=LAST), [100, 80], 1.009, 2.02)
    yield Sample(rand(1, 4, 2, 5).contiguous(memory_format=LAST), [47, 90])
    yield Sample(rand(1, 3, 6, 7).double(), [12, 14])


def lower_nearest(op):
    @lower(op, samples=nearest_samples, when=[*FLOATING, of_other_kernel(op, ("scales_h", "scales_w"))])
    def nearest(tt, self, output_size, scales_h, scales_w):
        scales = scales_h, scales_w
        *_, height, width = self.shape
        x = take(tt, self, -2, sources(op, 0, height, output_size, scales))
        return take(tt, x, -1, sources(op, 1, width, output_size, scales))


lower_nearest(aten.upsample_nearest2d.default)
lower_nearest(aten._upsample_nearest_exact2d.default)


def nearest_row_samples():
    for sample in nearest_samples():
        x, (_, out), *scales = sample.args
        yield Sample(x[0], [out], *scales[1:])


def lower_nearest_row(op):
    @lower(op, samples=nearest_row_samples, when=FLOATING)
    def nearest(tt, self, output_size, scales):
        return take(tt, self, -1, sources(op, 0, self.shape[-1], output_size, (scales,)))


lower_nearest_row(aten.upsample_nearest1d.default)
lower_nearest_row(aten._upsample_nearest_exact1d.default)


def nearest_volume_samples():
    last = torch.channels_last_3d
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 2, 5, 7, dtype=dtype), [4, 10, 14])
        yield Sample(rand(1, 2, 5, 3, 33, dtype=dtype), [7, 3, 20], None, None, None)
        yield Sample(rand(1, 2, 4, 7, 6, dtype=dtype), [6, 10, 15], 1.6, 1.5, 2.5)
        yield Sample(rand(1, 5, 4, 3, 6, dtype=dtype).contiguous(memory_format=last), [6, 4, 9], 1.5, 1.5, 1.5)
    yield Sample(rand(1, 3, 2, 6, 7), [2, 6, 7])
    yield Sample(rand(1, 3, 3, 6, 7), [1, 1, 1])
    yield Sample(rand(1, 1, 3, 4, 5), [3, 8, 6], 1.3, 2.2, 1.3)
    yield Sample(rand(1, 4, 3, 4, 5).contiguous(memory_format=last), [3, 8, 6], 1.3, 2.2, 1.3)
    yield Sample(rand(1, 4, 2, 3, 4).contiguous(memory_format=last), [47, 3, 4])
    yield Sample(rand(1, 1, 3, 6, 7).double(), [6, 12, 14])


def lower_nearest_volume(op):
    names = ("scales_d", "scales_h", "scales_w")

    @lower(op, samples=nearest_volume_samples, when=[*FLOATING, of_other_kernel(op, names)])
    def nearest(tt, self, output_size, scales_d, scales_h, scales_w):
        *outer, depth, height, width = self.shape
        scales = scales_d, scales_h, scales_w
        deep = output_size[0]
        planes = as_shape(tt, self, [*outer, depth, height * width])
        planes = take(tt, planes, -2, sources(op, 0, depth, output_size, scales))
        rows = as_shape(tt, planes, [*outer, deep, height, width])
        rows = take(tt, rows, -2, sources(op, 1, height, output_size, scales))
        return take(tt, rows, -1, sources(op, 2, width, output_size, scales))


lower_nearest_volume(aten.upsample_nearest3d.default)
lower_nearest_volume(aten._upsample_nearest_exact3d.default)


def interpolation_samples(dtypes=FLOATS):
    def samples():
        for dtype in dtypes:
            yield Sample(rand(2, 3, 5, 7, dtype=dtype), [10, 14], False)
            yield Sample(rand(2, 3, 5, 7, dtype=dtype), [9, 33], True)
            yield Sample(rand(1, 2, 13, 33, dtype=dtype), [6, 40], False)
            yield Sample(rand(1, 3, 7, 6, dtype=dtype), [10, 15], False, 1.5, 2.6)
        yield Sample(rand(1, 3, 6, 7), [6, 7], False)
        yield Sample(rand(1, 3, 6, 7), [1, 9], True)
        yield Sample(rand(1, 3, 6, 7).double(), [12, 14], False)

    return samples


def lower_interpolation(op, dtypes=FLOATS, because=""):
    @lower(op, samples=interpolation_samples(dtypes), when=[Dtype("self", dtypes, because=because)])
    def interpolation(tt, self, output_size, align_corners, scales_h, scales_w):
        *_, height, width = self.shape
        rows = weights(op, height, output_size[0], align_corners, scales_h, None)
        return weigh(tt, self, rows, weights(op, width, output_size[1], align_corners, scales_w, None))


lower_interpolation(aten.upsample_bilinear2d.default)
lower_interpolation(aten.upsample_bicubic2d.default)
for antialiased in (aten._upsample_bilinear2d_aa.default, aten._upsample_bicubic2d_aa.default):
    lower_interpolation(antialiased, (torch.float32,), because="on CPU it is not implemented for bfloat16")


def linear_samples():
    for sample in interpolation_samples()():
        x, (_, out), align_corners, *scales = sample.args
        yield Sample(x[0], [out], align_corners, *scales[1:])


@lower(aten.upsample_linear1d.default, samples=linear_samples, when=FLOATING)
def upsample_linear1d(tt, self, output_size, align_corners, scales):
    bilinear = aten.upsample_bilinear2d.default
    return weigh(tt, self, None, weights(bilinear, self.shape[-1], output_size[0], align_corners, scales, None))
