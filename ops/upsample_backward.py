"""Gradients of interpolations: each element gets its share of the outputs that it was read for."""

from __future__ import annotations

import math

import torch

from ..conditions import FLOATS, Check
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor
from ._taps import (
    CUBIC,
    LINEAR,
    antialiased_cubic,
    antialiased_linear,
    cubic,
    linear,
    one_by_one,
    passed_back,
    without_elements,
)
from ._weighed import MOST_GATHERED, held_at_once, weighed
from .vocabulary import as_shape, at_most, cast, widen

aten = torch.ops.aten

ONLY = "PyTorch refuses others, or passes them over"

SIZES: dict[int, list[tuple[list[int], list[int], tuple]]] = {
    1: [([2, 3, 7], [14], (None,)), ([1, 2, 33], [20], (None,)), ([1, 3, 6], [15], (2.5,)), ([2, 2, 5], [5], (None,))],
    2: [
        ([2, 3, 5, 7], [10, 14], (None, None)),
        ([1, 2, 13, 33], [25, 20], (None, None)),
        ([1, 3, 7, 6], [10, 15], (1.5, 2.5)),
        ([1, 3, 6, 7], [6, 9], (None, None)),
        ([1, 3, 6, 7], [1, 1], (None, None)),
    ],
    3: [
        ([2, 3, 2, 5, 7], [4, 10, 14], (None,) * 3),
        ([1, 2, 5, 3, 33], [7, 3, 20], (None,) * 3),
        ([1, 2, 4, 7, 6], [6, 10, 15], (1.6, 1.5, 2.5)),
    ],
}


def gradients(dims, *flags, dtypes=FLOATS):
    """Samples with each of the flags, and what is refused."""

    def samples():
        for dtype in dtypes:
            for sizes, output, scales in SIZES[dims]:
                for flag in flags or ((),):
                    yield Sample(rand(*sizes[:2], *output, dtype=dtype), output, sizes, *flag, *scales)
        sizes, output, scales = SIZES[dims][0]
        yield Sample(rand(*sizes[:2], *output).double(), output, sizes, *flag, *scales)
        yield Sample(rand(*sizes[:2], *output), output, sizes, *flag, *[-2.0] * dims)

    return samples


def unusual(call):
    """A scale that is not above 0, or a gradient of other sizes than were asked for."""
    scales = [n for name, n in call.arguments.items() if name.startswith("scales")]
    odd = next((str(scale) for scale in scales if scale is not None and not 0 < scale < math.inf), None)
    fits = call["grad_output"].shape == (*call["input_size"][:2], *call["output_size"])
    return odd or (None if fits else str(call["grad_output"]))


USUAL = Check("a gradient of the sizes asked for, and scales above 0", unusual, because=ONLY)


def spread(tt, grad, input_size, make, arguments):
    """The gradient of an image or a volume, along one dimension after the other, from the last one."""
    x = widen(tt, grad)
    for dim in range(len(input_size) - 1, 1, -1):
        shape = list(x.shape)
        size, given = input_size[dim], (make, *arguments[dim - 2])
        if dim == len(shape) - 1:
            x = weighed(tt, x, -1, size, passed_back, *given)
            continue
        planes = as_shape(tt, x, [*shape[:dim], shape[dim], math.prod(shape[dim + 1 :])])
        planes = weighed(tt, planes, -2, size, passed_back, *given)
        x = as_shape(tt, planes, [*shape[:dim], size, *shape[dim + 1 :]])
    return cast(tt, x, grad.dtype)


def lower_nearest(op, dims, exact):
    more = {"samples": gradients(dims), "takes": FLOATS, "when": [USUAL]}
    if dims == 1:

        @lower(op, **more)
        def backward(tt, grad_output, output_size, input_size, scales):
            return spread(tt, grad_output, input_size, one_by_one, [(scales, exact)])

    elif dims == 2:

        @lower(op, **more)
        def backward(tt, grad_output, output_size, input_size, scales_h, scales_w):
            return spread(tt, grad_output, input_size, one_by_one, [(scales_h, exact), (scales_w, exact)])

    else:

        @lower(op, **more)
        def backward(tt, grad_output, output_size, input_size, scales_d, scales_h, scales_w):
            scales = scales_d, scales_h, scales_w
            return spread(tt, grad_output, input_size, one_by_one, [(scale, exact) for scale in scales])


for dims, nearest, nearest_exact in (
    (1, aten.upsample_nearest1d_backward.default, aten._upsample_nearest_exact1d_backward.default),
    (2, aten.upsample_nearest2d_backward.default, aten._upsample_nearest_exact2d_backward.default),
    (3, aten.upsample_nearest3d_backward.default, aten._upsample_nearest_exact3d_backward.default),
):
    lower_nearest(nearest, dims, False)
    lower_nearest(nearest_exact, dims, True)

CORNERS = (False,), (True,)


@lower(aten.upsample_linear1d_backward.default, samples=gradients(1, *CORNERS), takes=FLOATS, when=[USUAL])
def linear1d_backward(tt, grad_output, output_size, input_size, align_corners, scales):
    return spread(tt, grad_output, input_size, linear, [(align_corners, scales)])


@lower(aten.upsample_trilinear3d_backward.default, samples=gradients(3, *CORNERS), takes=FLOATS, when=[USUAL])
def trilinear3d_backward(tt, grad_output, output_size, input_size, align_corners, scales_d, scales_h, scales_w):
    scales = scales_d, scales_h, scales_w
    return spread(tt, grad_output, input_size, linear, [(align_corners, scale) for scale in scales])


def lower_image(op, make, taken=FLOATS, when=(), more=tuple):
    def held(call):
        """How many elements the two gathers hold."""
        *outer, high, wide = call["grad_output"].shape
        rows, columns = call["input_size"][2:]
        corners = call["align_corners"]
        return max(
            held_at_once((*outer, high, wide), -1, columns, passed_back, make, corners, call["scales_w"]),
            held_at_once((*outer, high, columns), -2, rows, passed_back, make, corners, call["scales_h"]),
        )

    def samples():
        yield from gradients(2, *CORNERS, dtypes=dtypes)()
        yield from more()
        yield Sample(rand(1, 1, 1, 1).expand(1, 512, 800, 800), [800, 800], [1, 512, 50, 50], False, None, None)

    most = at_most(MOST_GATHERED, "at most {} elements to weigh", held, because="those of all outputs are held at once")

    dtypes = taken if isinstance(taken, tuple) else taken.dtypes

    @lower(op, samples=samples, takes=taken, when=[USUAL, *when, most])
    def backward(tt, grad_output, output_size, input_size, align_corners, scales_h, scales_w):
        given = [(align_corners, scales_h), (align_corners, scales_w)]
        return spread(tt, grad_output, input_size, make, given)


lower_image(aten.upsample_bilinear2d_backward.default, linear)
lower_image(aten.upsample_bicubic2d_backward.default, cubic)


def under_kernel(reach):
    """The condition that each output has elements under a kernel that goes so far."""

    def beyond(call):
        scales = call["scales_h"], call["scales_w"]
        for size, out, scale in zip(call["input_size"][2:], call["output_size"], scales, strict=True):
            if without_elements(size, out, call["align_corners"], scale, reach):
                return f"{size} to {out} by {scale}"
        return None

    return Check("outputs that lie within the image", beyond, because="PyTorch writes beyond the image for others")


NO_BFLOAT16 = Tensor((torch.float32,), program_dtype=True, because="on CPU it is not implemented for bfloat16")


def shrunk():
    yield Sample(rand(1, 2, 3, 4), [3, 4], [1, 2, 40, 50], False, None, None)
    yield Sample(rand(1, 2, 6, 100), [6, 100], [1, 2, 6, 7], False, None, 2.0)


for op, make, reach in (
    (aten._upsample_bilinear2d_aa_backward.default, antialiased_linear, LINEAR),
    (aten._upsample_bicubic2d_aa_backward.default, antialiased_cubic, CUBIC),
):
    lower_image(op, make, NO_BFLOAT16, [under_kernel(reach)], shrunk)
