"""Layers over images, which lie as ttnn's convolutions take and give them: a row for each pixel, (1, 1, pixels, C)."""

from __future__ import annotations

from typing import Any

import torch

from .layers import Place, Value

Size = tuple[int, int]  # height and width


def rows_of(place: Place, image: torch.Tensor) -> Value:
    """One image of PyTorch's, turned on the host."""
    rows = image.permute(0, 2, 3, 1).reshape(1, 1, -1, image.shape[1])
    return place.upload(rows.contiguous(), row_major=True)


class Convolution:
    """ttnn.conv2d, whose kernel its first call prepares."""

    def __init__(self, place: Place, module: torch.nn.Conv2d):
        self.place, self.module, self.prepared = place, module, False
        self.weight = place.upload(module.weight, row_major=True)
        bias = module.bias
        self.bias = None if bias is None else place.upload(bias.reshape(1, 1, 1, -1), row_major=True)
        tt = place.tt
        self.config = tt.Conv2dConfig(config_tensors_in_dram=True)
        self.kept = place.device.tt.KeptWeights() if place.emulated else None

    def __call__(self, x: Value, size: Size) -> tuple[Value, Size]:
        """The rows of the image that comes out, and its size."""
        module, place = self.module, self.place
        call = {
            "input_tensor": x,
            "device": place.device.tt.device,
            "in_channels": module.in_channels,
            "out_channels": module.out_channels,
            "batch_size": 1,
            "input_height": size[0],
            "input_width": size[1],
            "kernel_size": module.kernel_size,
            "stride": module.stride,
            "padding": module.padding,
            "dilation": module.dilation,
            "groups": module.groups,
            "dtype": getattr(place.tt, place.dtype),
            "conv_config": self.config,
            "compute_config": place.accurate,
        }
        return self.called(call), after(size, module.kernel_size, module.stride, module.padding)

    def called(self, call: dict[str, Any]) -> Value:
        """The result, with the kernel as ttnn prepared it, if it did."""
        convolve = self.place.tt.conv2d
        if self.place.emulated:  # it prepares nothing, but what validates it does
            return convolve(kept=self.kept, weight_tensor=self.weight, bias_tensor=self.bias, **call)
        if self.prepared:
            return convolve(weight_tensor=self.weight, bias_tensor=self.bias, **call)
        out, (self.weight, self.bias) = convolve(
            weight_tensor=self.weight, bias_tensor=self.bias, return_weights_and_bias=True, **call
        )
        self.prepared = True
        return out


class BatchNorm:
    """A factor and a summand for each channel, found once, in one call."""

    def __init__(self, place: Place, module: torch.nn.BatchNorm2d):
        assert module.running_var is not None
        assert module.running_mean is not None
        factor = module.weight / torch.sqrt(module.running_var + module.eps)
        self.place = place
        self.factor, self.summand = place.row(factor), place.row(module.bias - module.running_mean * factor)

    def __call__(self, x: Value) -> Value:
        return self.place.tt.addcmul(self.summand, x, self.factor)


class MaxPool:
    """The largest of each window of what is not below 0. ttnn.max_pool2d takes bfloat16; float32 goes in slices."""

    def __init__(self, place: Place, module: Any):
        self.place, self.kernel = place, int(module.kernel_size)
        self.stride, self.padding = int(module.stride), int(module.padding)

    def __call__(self, x: Value, size: Size) -> tuple[Value, Size]:
        """The rows of the image that comes out, and its size."""
        tt, (height, width), channels = self.place.tt, size, x.shape[-1]
        k, s, p = self.kernel, self.stride, self.padding
        out = after(size, (k, k), (s, s), (p, p))
        if self.place.dtype == "bfloat16":
            window = [k, k], [s, s], [p, p], [1, 1]
            # Not in the cores' own memory, where the pool leaves it and the next convolution does not take it.
            memory, tiles = tt.DRAM_MEMORY_CONFIG, tt.TILE_LAYOUT
            pooled = tt.max_pool2d(x, 1, height, width, channels, *window, memory_config=memory, output_layout=tiles)
            return pooled, out
        image = tt.reshape(tt.to_layout(x, tt.ROW_MAJOR_LAYOUT), [1, height, width, channels])
        image = tt.pad(image, [(0, 0), (p, p), (p, p), (0, 0)], 0.0)
        for dim, count in enumerate(out, 1):
            image = self.largest(image, dim, count)
        return tt.to_layout(tt.reshape(image, [1, 1, out[0] * out[1], channels]), tt.TILE_LAYOUT), out

    def largest(self, image: Value, dim: int, count: int) -> Value:
        """The largest of the places of each window along one dimension."""
        tt, best = self.place.tt, None
        for place in range(self.kernel):
            starts, ends, steps = [0, 0, 0, 0], list(image.shape), [1, 1, 1, 1]
            starts[dim], ends[dim], steps[dim] = place, place + (count - 1) * self.stride + 1, self.stride
            part = tt.slice(image, starts, ends, steps)
            best = part if best is None else tt.maximum(best, part)
        return best


def after(size: Size, kernel: Any, stride: Any, padding: Any) -> Size:
    """The size of what a window gives."""
    height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))
    return height, width
