"""torchvision's own ops, for the programs that import it."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand

vision = torch.ops.torchvision


def boxes():
    corners = rand(6, 2, low=0.0, high=8.0)
    yield Sample(torch.cat([corners, corners + 4], 1), rand(6, low=0.0, high=1.0), 0.5)


BOX = torch.tensor([[0.0, 1.0, 1.0, 6.0, 6.0]])


def aligned():
    yield Sample(rand(1, 2, 8, 8), BOX, 1.0, 2, 2, 2, False)


def pooled():
    yield Sample(rand(1, 2, 8, 8), BOX, 1.0, 2, 2)


def aligned_by_place():
    yield Sample(rand(1, 4, 8, 8), BOX, 1.0, 2, 2, 2)


def pooled_by_place():
    yield Sample(rand(1, 4, 8, 8), BOX, 1.0, 2, 2)


def deformed():
    kernel, offset, mask, bias = rand(3, 2, 3, 3), rand(1, 18, 6, 6), rand(1, 9, 6, 6, low=0.0), rand(3)
    yield Sample(rand(1, 2, 8, 8), kernel, offset, mask, bias, 1, 1, 0, 0, 1, 1, 1, 1, True)


cpu_only(vision.nms.default, because="how many boxes remain depends on their scores", samples=boxes)
for region_op, region_samples in (
    (vision.roi_align.default, aligned),
    (vision.roi_pool.default, pooled),
    (vision.ps_roi_align.default, aligned_by_place),
    (vision.ps_roi_pool.default, pooled_by_place),
):
    cpu_only(region_op, because="each region samples where its box lies, which is data", samples=region_samples)
cpu_only(
    vision.deform_conv2d.default,
    because="where the kernel's taps read is data, and differs from place to place",
    samples=deformed,
)
