"""The gradients of samples of an image: of the image, and of the places where the samples lie."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, OneOf, ProgramCheck, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from .embedding import NAN_IN_PARTS, rows_among
from .grid_sampler import (
    BILINEAR,
    BORDER,
    COUNTED,
    NEAREST,
    REFLECTION,
    ZEROS,
    Exact,
    addressed,
    combined,
    may_lie_outside,
    narrow_grid,
    numbers,
    table,
)
from .scatter_reduction import matrix, sums
from .vocabulary import as_shape, cast, cut, reduce, shape_of, widen

aten = torch.ops.aten

IMAGE = 0  # the place in `output_mask`; the grid's gradient is always made


def samples():
    for mode in (BILINEAR, NEAREST):
        for padding in (ZEROS, BORDER):
            for number, (image, out) in enumerate([((2, 3, 5, 7), (4, 6)), ((1, 33, 20, 33), (3, 11))]):
                grid = rand(image[0], *out, 2, low=-1.5, high=1.5)
                given = rand(*image[:2], *out)
                yield Sample(
                    given, rand(*image), grid, mode, padding, bool((number + padding + mode) % 2), [True, True]
                )
    yield Sample(given, rand(*image), grid, BILINEAR, ZEROS, False, [False, True])
    yield Sample(given, rand(*image), grid, BILINEAR, REFLECTION, False, [True, True])
    yield Sample(given, rand(*image), grid, 2, ZEROS, False, [True, True])
    yield Sample(given.double(), rand(*image).double(), grid.double(), BILINEAR, ZEROS, False, [True, True])
    yield Sample(given, rand(*image), grid.bfloat16(), BILINEAR, ZEROS, False, [True, True])
    yield Sample(*(t.bfloat16() for t in (given, rand(*image), grid)), BILINEAR, ZEROS, False, [True, True])
    large = rand(1).expand(1, 1, 4097, 4097)
    yield Sample(given[:, :1], large, grid, BILINEAR, ZEROS, False, [True, True])


@lower(
    aten.grid_sampler_2d_backward.default,
    samples=samples,
    takes={"grad_output": FLOATS, "input": FLOATS, "grid": Exact(FLOATS)},
    when=[
        SameDtype(("grad_output", "input", "grid")),
        ProgramCheck("in float32", narrow_grid, because="the CPU rounds each step to a bfloat16 place or sum"),
        OneOf("interpolation_mode", (BILINEAR, NEAREST)),
        OneOf("padding_mode", (ZEROS, BORDER)),
        COUNTED,
    ],
    chip=NAN_IN_PARTS,
)
def grid_sampler_2d_backward(
    tt, grad_output, input, grid, interpolation_mode, padding_mode, align_corners, output_mask
):
    of, shape, dtype = (interpolation_mode, padding_mode), shape_of(input), input.dtype
    index, weights, at = addressed(tt, grid, shape, *of, align_corners)
    made = []
    if output_mask[IMAGE]:
        found = of_image(tt, widen(tt, grad_output), shape, index, weights, may_lie_outside(*of))
        made.append(cast(tt, found, dtype))
    if interpolation_mode == NEAREST:
        return [*made, cast(tt, tt.zeros_like(grid), dtype)]
    slopes = of_places(tt, widen(tt, grad_output), table(tt, input, *of), index, weights)
    across = shape[:1:-1]
    slopes = tt.multiply(slopes, numbers(tt, slopes, *((size - align_corners) / 2 for size in across)))
    if padding_mode == BORDER:  # a place outside is moved to the border, wherever it lies
        inside = tt.multiply(tt.gtz(at), tt.lt(at, numbers(tt, at, *(size - 1 for size in across))))
        slopes = tt.where(inside, slopes, 0.0)
    slopes = as_shape(tt, cast(tt, slopes, dtype), [shape[0], 2, index.shape[3]])
    return [*made, as_shape(tt, tt.transpose(slopes, 1, 2), shape_of(grid))]


def of_image(tt, grad_output, shape, index, weights, outside):
    """What each element gets of the samples that read it. What lies outside goes to a row more, which is cut off."""
    images, channels, rows, columns = shape
    _, _, count, places = shape_of(index)
    given = as_shape(tt, grad_output, [images, channels, 1, places])
    if weights is not None:
        given = tt.multiply(given, combined(tt, weights, tt.multiply))
    given = matrix(tt, tt.permute(given, [1, 0, 2, 3]), channels, images * count * places)
    index = tt.to_layout(as_shape(tt, index, [1, images * count * places]), tt.ROW_MAJOR_LAYOUT)
    size = images * rows * columns
    total = cut(tt, sums(tt, index, given, size + outside), 1, 0, size)
    return tt.permute(as_shape(tt, total, [channels, images, rows, columns]), [1, 0, 2, 3])


def of_places(tt, grad_output, rows, index, weights):
    """How much the loss changes with the place of each sample: (images, 1, 2, samples), by columns first."""
    images, channels, *_ = shape_of(grad_output)
    places = index.shape[3]
    found = widen(tt, rows_among(tt, rows, index, [images, 2, 2 * places, channels]))
    of_columns, of_rows = (as_shape(tt, cut(tt, weights, 2, n, n + 1), [images, 2, places, 1]) for n in (0, 1))
    to_the_right = tt.subtract(cut(tt, found, 2, places, 2 * places), cut(tt, found, 2, 0, places))
    down = as_shape(tt, tt.subtract(cut(tt, found, 1, 1, 2), cut(tt, found, 1, 0, 1)), [images, 2, places, channels])
    slopes = [
        reduce(tt, "sum", tt.multiply(slope, weight), 1, keepdim=True)
        for slope, weight in ((to_the_right, of_rows), (down, of_columns))
    ]
    given = tt.transpose(as_shape(tt, grad_output, [images, channels, places]), 1, 2)
    given = as_shape(tt, given, [images, 1, places, channels])
    shares = tt.multiply(tt.concat(slopes, 1), given)
    return as_shape(tt, reduce(tt, "sum", shares, 3), [images, 1, 2, places])
