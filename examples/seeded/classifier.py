"""A small classifier with seeded weights, for `ttreg coverage`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """From pictures (batch, 3, height, width) to probabilities (batch, 10) in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Linear(256, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        scores = self.head(self.features(pictures).flatten(1))
        return scores.softmax(1, dtype=torch.float64)


def classifier() -> tuple[nn.Module, Tensor]:
    """The model, and a picture for it."""
    torch.manual_seed(0)
    return Classifier().eval(), torch.rand(1, 3, 32, 32)
