"""conv2d, which ttnn computes as the product of the image's patches with the kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from .bits import cut
from .elements import KEPT, added
from .products import GROUP, matrix_product, phases
from .table import Values, float32, kernel


@kernel("conv2d")
def _conv2d(golden: Values) -> Values:
    def conv2d(
        *,
        input_tensor: torch.Tensor,
        weight_tensor: torch.Tensor,
        bias_tensor: torch.Tensor | None = None,
        batch_size: int,
        input_height: int,
        input_width: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        dilation: tuple[int, int],
        groups: int = 1,
        compute_config: Any = None,
        **rest: Any,
    ) -> torch.Tensor:
        top, bottom, left, right = padding
        images = input_tensor.float().reshape(batch_size, input_height, input_width, -1)
        images = pad(images, (0, 0, left, right, top, bottom))
        steps = phases(compute_config, float32(input_tensor, weight_tensor))
        made = torch.cat(
            [
                _of_one_group(channels, weight, kernel_size, stride, dilation, steps, bias_tensor is None)
                for channels, weight in zip(
                    images.chunk(groups, 3), weight_tensor.float().chunk(groups, 0), strict=True
                )
            ],
            3,
        )
        if bias_tensor is not None:
            made = added(made, bias_tensor.float().reshape(-1))
        return made.reshape(1, 1, -1, made.shape[3])

    return conv2d


def _of_one_group(
    images: torch.Tensor,
    weight: torch.Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    steps: int,
    is_whole: bool,
) -> torch.Tensor:
    """The convolution of images (N, H, W, C) with a weight (O, C, rows, columns), a row of the kernel at a time.

    The rows are summed in memory, in float32. If there is no bias, the sum passes through a register before the last
    row is added.
    """
    fill = -images.shape[3] % GROUP
    images = pad(images, (0, fill))
    weight = pad(weight, (0, 0, 0, 0, 0, fill))
    n, height, width, channels = images.shape
    rows, columns = (
        (size - d * (k - 1) - 1) // s + 1
        for size, d, k, s in zip((height, width), dilation, kernel, stride, strict=True)
    )
    total = images.new_zeros(n * rows * columns, weight.shape[0])
    for row in range(kernel[0]):
        of_row = images[:, row * dilation[0] :][:, : (rows - 1) * stride[0] + 1 : stride[0]]
        patches = torch.stack(
            [
                of_row[:, :, column * dilation[1] :][:, :, : (columns - 1) * stride[1] + 1 : stride[1]]
                for column in range(kernel[1])
            ],
            3,
        ).reshape(n * rows * columns, kernel[1] * channels)
        factors = weight[:, :, row].permute(2, 1, 0).reshape(kernel[1] * channels, -1)
        if is_whole and row == kernel[0] - 1:
            total = cut(total, KEPT)
        total += matrix_product(patches, factors, steps)
    return total.reshape(n, rows, columns, -1)
