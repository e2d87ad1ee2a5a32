"""ResNet with bottlenecks: its images stay in ttnn's own layout from the first convolution to the last."""

from __future__ import annotations

from typing import Any

import torch

from .images import BatchNorm, Convolution, MaxPool, Size, rows_of
from .layers import Linear, Place, Value


class ResNet:
    """torchvision's ResNet over one image: the scores of its classes."""

    def __init__(self, place: Place, model: Any):
        self.place = place
        self.first, self.norm = Convolution(place, model.conv1), BatchNorm(place, model.bn1)
        self.pool = MaxPool(place, model.maxpool)
        stages = (model.layer1, model.layer2, model.layer3, model.layer4)
        self.blocks = [Bottleneck(place, block) for stage in stages for block in stage]
        self.head = Linear.of(place, model.fc)

    def __call__(self, image: torch.Tensor) -> list[torch.Tensor]:
        tt = self.place.tt
        x, size = self.first(rows_of(self.place, image), (image.shape[2], image.shape[3]))
        x, size = self.pool(tt.relu(self.norm(x)), size)
        for block in self.blocks:
            x, size = block(x, size)
        pooled = tt.mean(x, dim=2, keepdim=True, compute_kernel_config=self.place.accurate)
        return [self.place.download(self.head(pooled))]


class Bottleneck:
    """Three convolutions, and what came in added to them."""

    def __init__(self, place: Place, block: Any):
        self.place = place
        self.steps = [
            (Convolution(place, getattr(block, f"conv{n}")), BatchNorm(place, getattr(block, f"bn{n}")))
            for n in (1, 2, 3)
        ]
        short = block.downsample
        self.short = None if short is None else (Convolution(place, short[0]), BatchNorm(place, short[1]))

    def __call__(self, x: Value, size: Size) -> tuple[Value, Size]:
        """The rows of the image that comes out, and its size."""
        tt, y, out = self.place.tt, x, size
        for number, (convolution, norm) in enumerate(self.steps):
            y, out = convolution(tt.relu(y) if number else y, out)
            y = norm(y)
        if self.short is not None:
            convolution, norm = self.short
            x = norm(convolution(x, size)[0])
        return tt.relu(tt.add(y, x)), out
