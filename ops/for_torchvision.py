"""torchvision's own ops, for the programs that import it."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand

vision = torch.ops.torchvision


def boxes():
    corners = rand(6, 2, low=0.0, high=8.0)
    yield Sample(torch.cat([corners, corners + 4], 1), rand(6, low=0.0, high=1.0), 0.5)


def regions():
    yield Sample(rand(1, 2, 8, 8), torch.tensor([[0.0, 1.0, 1.0, 6.0, 6.0]]), 1.0, 2, 2, 2, False)


cpu_only(vision.nms.default, because="how many boxes remain depends on their scores", samples=boxes)
cpu_only(vision.roi_align.default, because="each region samples where its box lies, which is data", samples=regions)
