"""Samples of an image or a volume at places between its elements, which another tensor gives."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from ..call import Call
from ..conditions import FLOATS, Condition, OneOf, ProgramCheck, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Arrival, Tensor
from .embedding import NAN_IN_PARTS, rows_among
from .vocabulary import COUNTABLE, as_shape, at_most, cast, cut, from_sizes, reduce, shape_of, widen

aten = torch.ops.aten

BILINEAR, NEAREST, BICUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)

# The weights of the four taps of a cubic interpolation, as polynomials of how far the place lies behind the second.
A = -0.75
CUBIC = ([A, -2 * A, A, 0.0], [A + 2, -A - 3, 0.0, 1.0], [-A - 2, 2 * A + 3, -A, 0.0], [-A, A, 0.0, 0.0])


class Exact(Tensor):
    """A tensor that arrives as wide as its dtype, whatever `precision` says."""

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        return super().arrival(call, dtype, True)


@from_sizes
def of_dims(*numbers: float) -> torch.Tensor:
    """A number for each dimension of the image."""
    return torch.tensor(numbers, dtype=torch.float32).view(1, 1, -1, 1)


@from_sizes
def starts(images: int, size: int) -> torch.Tensor:
    """Where each image starts among the elements of all."""
    return torch.arange(0, images * size, size, dtype=torch.float32).view(-1, 1, 1, 1)


def located(tt, grid, sizes, align_corners):
    """Where the samples lie, in elements: (images, 1, dims, samples), the last dimension of the image first.

    In the grid's own dtype, and by the formulas of PyTorch's kernels: in bfloat16 the places are rounded a lot.
    """
    images, *out, dims = shape_of(grid)
    grid = tt.transpose(as_shape(tt, grid, [images, prod(out), dims]), 1, 2)
    at = tt.add(as_shape(tt, grid, [images, 1, dims, prod(out)]), 1.0)
    if dims == 2:
        at = tt.multiply(at, numbers(tt, at, *((size - align_corners) / 2 for size in sizes)))
        return at if align_corners else tt.subtract(at, 0.5)
    if align_corners:
        return tt.multiply(tt.multiply(at, 0.5), numbers(tt, at, *(size - 1 for size in sizes)))
    return tt.multiply(tt.subtract(tt.multiply(at, numbers(tt, at, *sizes)), 1.0), 0.5)


def numbers(tt, beside, *each):
    """A number for each dimension, in the dtype of another tensor."""
    return cast(tt, tt.constant(of_dims(*each)), beside.dtype)


def brought_inside(tt, at, sizes, padding, align_corners):
    """The places with those outside moved to the border, or reflected at it."""
    if padding == REFLECTION:
        low = 0.0 if align_corners else -0.5
        span = numbers(tt, at, *(max(2 * (size - align_corners), 1) for size in sizes))
        apart = tt.abs(tt.subtract(at, low))
        apart = tt.subtract(apart, tt.multiply(tt.floor(tt.divide(apart, span)), span))
        at = tt.add(tt.minimum(apart, tt.subtract(span, apart)), low)
    at = tt.where(tt.gez(at), at, 0.0)  # NaN too
    return tt.minimum(at, numbers(tt, at, *(size - 1 for size in sizes)))


def taps(tt, at, mode):
    """The elements that each sample is made of along each dimension, and the weights, if they are not all 1: of shape
    (images, taps, dims, samples)."""
    if mode == NEAREST:
        return tt.round(at), None
    before = tt.floor(at)
    behind = tt.subtract(at, before)
    if mode == BILINEAR:
        return tt.concat([before, tt.add(before, 1.0)], 1), tt.concat([tt.rsub(behind, 1.0), behind], 1)
    places = [tt.add(before, step) if step else before for step in (-1.0, 0.0, 1.0, 2.0)]
    behind = widen(tt, behind)
    return tt.concat(places, 1), tt.concat([tt.polyval(behind, weight) for weight in CUBIC], 1)


def combined(tt, parts, function):
    """What the function makes of the taps of all dimensions: (images, 1, combinations, samples)."""
    images, count, dims, samples = shape_of(parts)
    made = None
    for dim in range(dims):
        part = cut(tt, parts, 2, dim, dim + 1)
        if made is None:
            made = as_shape(tt, part, [images, 1, count, samples])
        else:
            made = as_shape(tt, function(part, made), [images, 1, made.shape[2] * count, samples])
    return made


def addressed(tt, grid, shape, interpolation_mode, padding_mode, align_corners):
    """Which elements of an image of the shape each sample is made of, as rows of its `table`, and where it lies.

    The rows are (images, 1, combinations of taps, samples), the weights as `taps` gives them, the places as `located`.
    """
    images, _, *sizes = shape
    across, total = sizes[::-1], images * prod(sizes)
    located_at = at = located(tt, grid, across, align_corners)
    if padding_mode != ZEROS and interpolation_mode != BICUBIC:
        at = brought_inside(tt, at, across, padding_mode, align_corners)
    places, weights = taps(tt, at, interpolation_mode)
    if padding_mode != ZEROS and interpolation_mode == BICUBIC:
        places = brought_inside(tt, places, across, padding_mode, align_corners)
    places = widen(tt, places)
    steps = tt.multiply(places, numbers(tt, places, *(prod(across[:dim]) for dim in range(len(across)))))
    if may_lie_outside(interpolation_mode, padding_mode):
        inside = tt.le(places, numbers(tt, places, *(length - 1 for length in across)))
        inside = inside if padding_mode != ZEROS else tt.multiply(inside, tt.gez(places))
        steps = tt.where(inside, steps, float(total))
    index = combined(tt, steps, tt.add)
    if images > 1:
        index = tt.add(index, tt.constant(starts(images, prod(sizes))))
    if may_lie_outside(interpolation_mode, padding_mode):
        index = tt.minimum(index, float(total))
    return tt.typecast(index, tt.uint32), weights, located_at


def may_lie_outside(interpolation_mode, padding_mode):
    """Whether samples read the row of zeros behind all others. Of places inside, the next ones may lie outside."""
    return padding_mode == ZEROS or interpolation_mode == BILINEAR


def table(tt, input, interpolation_mode, padding_mode):
    """The elements of all images, a row of channels for each."""
    images, channels, *sizes = shape_of(input)
    rows = as_shape(tt, input, [images, channels, prod(sizes)])
    rows = as_shape(tt, tt.transpose(rows, 1, 2), [images * prod(sizes), channels])
    return tt.pad(rows, [(0, 1), (0, 0)], 0.0) if may_lie_outside(interpolation_mode, padding_mode) else rows


def sampled(tt, input, grid, interpolation_mode, padding_mode, align_corners):
    images, channels, *_ = shape_of(input)
    index, weights, _ = addressed(tt, grid, shape_of(input), interpolation_mode, padding_mode, align_corners)
    _, _, count, samples = shape_of(index)
    rows = table(tt, input, interpolation_mode, padding_mode)
    found = rows_among(tt, rows, index, [images, count, samples, channels])
    if weights is not None:
        weights = as_shape(tt, combined(tt, widen(tt, weights), tt.multiply), [images, count, samples, 1])
        found = cast(tt, reduce(tt, "sum", tt.multiply(widen(tt, found), weights), 1), input.dtype)
    found = as_shape(tt, found, [images, samples, channels])
    return as_shape(tt, tt.transpose(found, 1, 2), [images, channels, *shape_of(grid)[1:-1]])


def samples_of(*shapes, modes):
    """Images of these sizes with places inside, outside and at the border, with every mode and padding."""

    def samples():
        for padding in (ZEROS, BORDER, REFLECTION):
            for mode in modes:
                for number, (image, out) in enumerate(shapes):
                    grid = rand(image[0], *out, len(out), low=-1.5, high=1.5)
                    yield Sample(rand(*image), grid, mode, padding, bool((number + padding + mode) % 2))
                image, out = shapes[0]
                grid = rand(image[0], *out, len(out), dtype=torch.bfloat16)
                yield Sample(rand(*image, dtype=torch.bfloat16), grid, mode, padding, True)
        image, out = shapes[0]
        grid = rand(image[0], *out, len(out))
        corners = torch.tensor([-1.0, 1.0, 0.0, -1.0001, 1.0001]).repeat(grid.numel())[: grid.numel()].view(grid.shape)
        yield Sample(rand(*image), corners, BILINEAR, ZEROS, False)
        yield Sample(rand(*image), corners, NEAREST, ZEROS, True)
        yield Sample(torch.full(image, torch.inf), corners, BILINEAR, ZEROS, False)
        yield Sample(rand(*image).double(), grid.double(), BILINEAR, ZEROS, False)
        yield Sample(rand(*image), grid, 3, ZEROS, False)
        yield Sample(rand(*image), grid, BILINEAR, 3, False)
        yield Sample(rand(*image, dtype=torch.bfloat16), grid, BILINEAR, ZEROS, False)
        side = 257 if len(out) == 3 else 4097
        yield Sample(rand(1).expand(1, 1, *[side] * len(out)), grid[:1], BILINEAR, ZEROS, False)

    return samples


def narrow_grid(call: Call) -> str | None:
    return str(call["grid"]) if call["grid"].dtype is torch.bfloat16 else None


def rounded_weights(call: Call) -> str | None:
    return narrow_grid(call) if call["interpolation_mode"] == BICUBIC else None


OF_FLOAT32 = ProgramCheck(
    "cubic weights are of a float32 grid",
    rounded_weights,
    because="of a bfloat16 one, each step to a weight is rounded on the CPU, and the error is in the first digit",
)


COUNTED = at_most(
    COUNTABLE,
    "at most {} places in all images",
    lambda call: call["input"].numel // max(call["input"].shape[1], 1),
    because="they are counted in float32",
)


def conditions(*modes: int, when: Sequence[Condition] = ()) -> dict[str, Any]:
    return {
        "takes": {"input": FLOATS, "grid": Exact(FLOATS)},
        "when": [
            SameDtype(("input", "grid")),
            OneOf("interpolation_mode", modes),
            OneOf("padding_mode", (ZEROS, BORDER, REFLECTION)),
            COUNTED,
            *when,
        ],
        "chip": NAN_IN_PARTS,
    }


IMAGES = (((2, 3, 5, 7), (4, 6)), ((1, 33, 40, 33), (3, 11)), ((1, 2, 1, 6), (2, 2)))
VOLUMES = (((2, 3, 4, 5, 7), (2, 3, 4)), ((1, 33, 4, 9, 3), (1, 3, 11)))


@lower(
    aten.grid_sampler_2d.default,
    samples=samples_of(*IMAGES, modes=(BILINEAR, NEAREST, BICUBIC)),
    **conditions(BILINEAR, NEAREST, BICUBIC, when=[OF_FLOAT32]),
)
def grid_sampler_2d(tt, input, grid, interpolation_mode, padding_mode, align_corners):
    return sampled(tt, input, grid, interpolation_mode, padding_mode, align_corners)


@lower(
    aten.grid_sampler_3d.default,
    samples=samples_of(*VOLUMES, modes=(BILINEAR, NEAREST)),
    **conditions(BILINEAR, NEAREST),
)
def grid_sampler_3d(tt, input, grid, interpolation_mode, padding_mode, align_corners):
    return sampled(tt, input, grid, interpolation_mode, padding_mode, align_corners)
