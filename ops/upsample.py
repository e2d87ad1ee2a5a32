"""Interpolation of sequences and images: nearest by moving elements, linear and cubic by weighted sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..apart import batch
from ..call import Call
from ..conditions import FLOATS, Check
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._resample import sources, sources_in_channels_last, take
from ._taps import CUBIC, LINEAR, antialiased_cubic, antialiased_linear, cubic, linear, without_elements
from ._weighed import MOST_GATHERED, held_at_once, weighed
from .vocabulary import as_shape, at_most, cast, folded, widen

aten = torch.ops.aten


def unusual(call: Call) -> str | None:
    sizes, scales = call["output_size"], [n for name, n in call.arguments.items() if name.startswith("scales")]
    if len(sizes) != call["self"].ndim - 2:
        return str(list(sizes))
    return next((str(scale) for scale in scales if scale is not None and not 0 < scale < math.inf), None)


USUAL = Check(
    "a size for each dimension, and scales above 0", unusual, because="PyTorch refuses others, or passes them over"
)
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
    yield Sample(rand(1, 3, 6, 7), [12, 14], -2.0, 2.0)


def lower_nearest(op):
    @lower(
        op,
        samples=nearest_samples,
        takes=FLOATS,
        when=[USUAL, of_other_kernel(op, ("scales_h", "scales_w"))],
        apart=batch("self"),
    )
    def nearest(tt, self, output_size, scales_h, scales_w, out):
        scales = scales_h, scales_w
        rows = take(tt, folded(tt, self, 3), -2, op, 0, output_size, scales)
        return as_shape(tt, take(tt, rows, -1, op, 1, output_size, scales), out.shape)


lower_nearest(aten.upsample_nearest2d.default)
lower_nearest(aten._upsample_nearest_exact2d.default)


def nearest_row_samples():
    for sample in nearest_samples():
        x, (_, out), *scales = sample.args
        yield Sample(x[0], [out], *scales[1:])
    yield Sample(rand(3, 6, 7), [14, 14])


def lower_nearest_row(op):
    @lower(op, samples=nearest_row_samples, takes=FLOATS, when=[USUAL])
    def nearest(tt, self, output_size, scales):
        return take(tt, self, -1, op, 0, output_size, (scales,))


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
    yield Sample(rand(1, 1, 3, 6, 7), [6, 12, 14, 14])


def planes_of(tt, volume):
    """Each volume as rows that are its planes."""
    *outer, depth, height, width = volume.shape
    return as_shape(tt, volume, [math.prod(outer), depth, height * width])


def images_of(tt, planes, volume):
    """Such planes as images again, of the height and width that the volume has."""
    height, width = list(volume.shape)[-2:]
    return as_shape(tt, planes, [planes.shape[0] * planes.shape[1], height, width])


def lower_nearest_volume(op):
    names = ("scales_d", "scales_h", "scales_w")

    @lower(op, samples=nearest_volume_samples, takes=FLOATS, when=[USUAL, of_other_kernel(op, names)])
    def nearest(tt, self, output_size, scales_d, scales_h, scales_w, out):
        scales = scales_d, scales_h, scales_w
        planes = take(tt, planes_of(tt, self), -2, op, 0, output_size, scales)
        rows = take(tt, images_of(tt, planes, self), -2, op, 1, output_size, scales)
        return as_shape(tt, take(tt, rows, -1, op, 2, output_size, scales), out.shape)


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
        yield Sample(rand(1, 3, 6, 7), [12, 14, 14], False)

    return samples


def too_much(make):
    """The condition that no more is gathered at once than `weighed` may hold."""

    def gathered(call):
        *outer, height, width = call["self"].shape
        high, wide = call["output_size"]
        first = rows_first(call["self"].shape, call["output_size"])
        options = make, call["align_corners"]
        return max(
            held_at_once((*outer, height, width if first else wide), -2, high, *options, call["scales_h"]),
            held_at_once((*outer, high if first else height, width), -1, wide, *options, call["scales_w"]),
        )

    return at_most(
        MOST_GATHERED, "at most {} elements to weigh", gathered, because="those of all outputs are held at once"
    )


def rows_first(shape, output_size):
    """Whether the rows shrink more than the columns do."""
    return output_size[0] * shape[-1] < output_size[1] * shape[-2]


def lower_interpolation(op, make, dtypes=FLOATS, because="", more=(), samples=interpolation_samples):
    @lower(
        op,
        samples=samples(dtypes),
        takes=Tensor(dtypes, program_dtype=True, because=because),
        when=[USUAL, *more],
        apart=batch("self"),
    )
    def interpolation(tt, self, output_size, align_corners, scales_h, scales_w, out):
        rows = -2, output_size[0], make, align_corners, scales_h
        columns = -1, output_size[1], make, align_corners, scales_w
        x = folded(tt, widen(tt, self), 3)
        for along in (rows, columns) if rows_first(self.shape, output_size) else (columns, rows):
            x = weighed(tt, x, *along)
        return cast(tt, as_shape(tt, x, out.shape), self.dtype)


def one_column(call: Call) -> str | None:
    high, wide = call["output_size"]
    return f"[{high}, {wide}]" if wide == 1 < high else None


MORE_COLUMNS = Check(
    "more than one column of several rows", one_column, because="PyTorch gives all rows of it what the first has"
)


def under_kernel(reach: int) -> Check:
    """The condition that each output has elements under a kernel that goes so far."""

    def beyond(call: Call) -> str | None:
        shape, output, corners = call["self"].shape, call["output_size"], call["align_corners"]
        scales = call["scales_h"], call["scales_w"]
        for size, out, scale in zip(shape[-2:], output, scales, strict=True):
            if without_elements(size, out, corners, scale, reach):
                return f"{size} to {out} by {scale}"
        return None

    because = "PyTorch reads beyond the image for one that lies there, as a scale may say that sizes do not agree with"
    return Check("outputs that lie within the image", beyond, because=because)


def wide_samples(dtypes):
    def samples():
        yield from interpolation_samples(dtypes)()
        yield Sample(rand(1, 2, 40, 50), [3, 4], False)
        yield Sample(rand(1, 2, 6, 7), [6, 1], False)
        yield Sample(rand(1, 2, 6, 7), [6, 100], False, None, 2.0)
        yield Sample(rand(1, 1, 1, 1).expand(1, 64, 40000, 40), [400, 40], False)

    return samples


lower_interpolation(aten.upsample_bilinear2d.default, linear)
lower_interpolation(aten.upsample_bicubic2d.default, cubic)
for antialiased, make, reach in (
    (aten._upsample_bilinear2d_aa.default, antialiased_linear, LINEAR),
    (aten._upsample_bicubic2d_aa.default, antialiased_cubic, CUBIC),
):
    because = "on CPU it is not implemented for bfloat16"
    more = [MORE_COLUMNS, under_kernel(reach), too_much(make)]
    lower_interpolation(antialiased, make, (torch.float32,), because, more, wide_samples)


def linear_samples():
    for sample in interpolation_samples()():
        x, (_, *out), align_corners, *scales = sample.args
        yield Sample(x[0], out, align_corners, *scales[1:])


@lower(aten.upsample_linear1d.default, samples=linear_samples, takes=FLOATS, when=[USUAL])
def upsample_linear1d(tt, self, output_size, align_corners, scales):
    return cast(tt, weighed(tt, widen(tt, self), -1, output_size[0], linear, align_corners, scales), self.dtype)


def volume_samples():
    for dtype in FLOATS:
        yield Sample(rand(2, 3, 2, 5, 7, dtype=dtype), [4, 10, 14], False)
        yield Sample(rand(1, 2, 5, 3, 33, dtype=dtype), [7, 3, 20], True)
        yield Sample(rand(1, 2, 4, 7, 6, dtype=dtype), [6, 10, 15], False, 1.6, 1.5, 2.6)
    yield Sample(rand(1, 3, 2, 6, 7), [2, 6, 7], False)
    yield Sample(rand(1, 1, 3, 6, 7).double(), [6, 12, 14], False)
    yield Sample(rand(1, 1, 3, 6, 7), [6, 12, 14], False, -2.0)


@lower(aten.upsample_trilinear3d.default, samples=volume_samples, takes=FLOATS, when=[USUAL])
def upsample_trilinear3d(tt, self, output_size, align_corners, scales_d, scales_h, scales_w, out):
    deep, high, wide = output_size
    planes = weighed(tt, planes_of(tt, widen(tt, self)), -2, deep, linear, align_corners, scales_d)
    rows = weighed(tt, images_of(tt, planes, self), -2, high, linear, align_corners, scales_h)
    x = weighed(tt, rows, -1, wide, linear, align_corners, scales_w)
    return cast(tt, as_shape(tt, x, out.shape), self.dtype)
