"""What the sizes of a convolution say of its calls of ttnn.conv2d, worked out once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

# ttnn cuts images, but not batches, to what fits its cores: it refuses a few times as many elements in one call.
BATCH = 2**20
# ttnn's table of where each row of outputs starts has room for rows of at least so many.
FEWEST_COLUMNS = 3
# A bfloat16 image in rows with an incomplete tile of channels needs more of a core than ttnn reckons with when it cuts
# it: from about twice this size on, with its padding, some are refused. In tiles all fit.
IN_ROWS = 2**21


class Form(NamedTuple):
    """What the sizes of a convolution say of its calls of ttnn.conv2d."""

    shape: tuple[int, ...]  # of the result
    computed: int  # its columns, with those that are to be cut off
    at_once: int  # images in a call
    tiled: bool  # whether bfloat16 images have to come in tiles
    call: dict  # the arguments of a call that are sizes


@lru_cache(maxsize=1 << 12)
def form_of(images, kernel, stride, padding, dilation, groups):
    """The form of a convolution of images (N, C, H, W) with a kernel (O, C / groups, rows, columns)."""
    n, channels, height, width = images
    outs, _, *sizes = kernel
    rows, columns = (
        (size + sum(around) - d * (k - 1) - 1) // s + 1
        for size, around, d, k, s in zip((height, width), padding, dilation, sizes, stride, strict=True)
    )
    (top, bottom), (left, right) = padding
    whole_column = (sizes[1], stride, left, right) == (1, (1, 1), 0, 0)
    computed = columns if whole_column else max(columns, FEWEST_COLUMNS)
    right += (computed - columns) * stride[1]
    padded = (height + top + bottom) * (width + left + right) * -(-channels // 32) * 32
    call = {
        "in_channels": channels,
        "out_channels": outs,
        "input_height": height,
        "input_width": width,
        "kernel_size": tuple(sizes),
        "stride": stride,
        "padding": (top, bottom, left, right),
        "dilation": dilation,
        "groups": groups,
    }
    tiled = channels % 32 != 0 and padded > IN_ROWS
    return Form((n, outs, rows, columns), computed, max(1, BATCH // padded), tiled, call)
