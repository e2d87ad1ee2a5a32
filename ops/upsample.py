"""Interpolation of sequences and images: nearest by moving elements, linear and cubic by two matrix products."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, Dtype
from ..registry import lower
from ..samples import Sample, rand
from ._resample import sources, take, weigh, weights
from .views import as_shape

aten = torch.ops.aten

FLOATING = [Dtype("self", FLOATS)]


def nearest_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 5, 7, dtype=dtype), [10, 14])
        yield Sample(rand(1, 2, 13, 33, dtype=dtype), [25, 40])
        yield Sample(rand(2, 2, 8, 9, dtype=dtype), [4, 3], None, None)
        yield Sample(rand(1, 3, 7, 6, dtype=dtype), [10, 15], 1.5, 2.5)
    yield Sample(rand(1, 3, 6, 7), [6, 7])
    yield Sample(rand(1, 5, 6, 9), [12, 9], 2.1, 1.1)
    yield Sample(rand(1, 3, 3, 4), [7, 11], 2.5, 2.9)
    yield Sample(rand(1, 3, 6, 7), [1, 1])
    yield Sample(rand(1, 3, 6, 7).double(), [12, 14])


def lower_nearest(op):
    @lower(op, samples=nearest_samples, when=FLOATING)
    def nearest(tt, self, output_size, scales_h, scales_w):
        *_, height, width = self.shape
        x = take(tt, self, -2, sources(op, height, output_size[0], scales_h))
        return take(tt, x, -1, sources(op, width, output_size[1], scales_w))


lower_nearest(aten.upsample_nearest2d.default)
lower_nearest(aten._upsample_nearest_exact2d.default)


def nearest_row_samples():
    for sample in nearest_samples():
        x, (_, out), *scales = sample.args
        yield Sample(x[0], [out], *scales[1:])


def lower_nearest_row(op):
    def of_rows(rows, output_size, scale, _):
        return op(rows.mT[0], output_size[:1], scale)

    @lower(op, samples=nearest_row_samples, when=FLOATING)
    def nearest(tt, self, output_size, scales):
        return take(tt, self, -1, sources(of_rows, self.shape[-1], output_size[0], scales))


lower_nearest_row(aten.upsample_nearest1d.default)
lower_nearest_row(aten._upsample_nearest_exact1d.default)


def nearest_volume_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 2, 5, 7, dtype=dtype), [4, 10, 14])
        yield Sample(rand(1, 2, 5, 3, 33, dtype=dtype), [7, 3, 20], None, None, None)
        yield Sample(rand(1, 2, 4, 7, 6, dtype=dtype), [6, 10, 15], 1.6, 1.5, 2.5)
    yield Sample(rand(1, 3, 2, 6, 7), [2, 6, 7])
    yield Sample(rand(1, 3, 3, 6, 7), [1, 1, 1])
    yield Sample(rand(1, 1, 3, 6, 7).double(), [6, 12, 14])


def lower_nearest_volume(op, of_image):
    @lower(op, samples=nearest_volume_samples, when=FLOATING)
    def nearest(tt, self, output_size, scales_d, scales_h, scales_w):
        *outer, depth, height, width = self.shape
        deep, high, wide = output_size
        planes = as_shape(tt, self, [*outer, depth, height * width])
        planes = take(tt, planes, -2, sources(of_image, depth, deep, scales_d))
        rows = as_shape(tt, planes, [*outer, deep, height, width])
        rows = take(tt, rows, -2, sources(of_image, height, high, scales_h))
        return take(tt, rows, -1, sources(of_image, width, wide, scales_w))


lower_nearest_volume(aten.upsample_nearest3d.default, aten.upsample_nearest2d.default)
lower_nearest_volume(aten._upsample_nearest_exact3d.default, aten._upsample_nearest_exact2d.default)


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
