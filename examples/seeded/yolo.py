"""A detector in YOLO's manner: boxes decoded from the cells of two scales, and the best of those that overlap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import batched_nms, box_convert


class Yolo(nn.Module):
    """From a list of images (3, height, width) of any sizes, each one's boxes (x1, y1, x2, y2), scores and labels."""

    ANCHORS = ((12.0, 16.0), (30.0, 24.0))  # of each scale, in pixels
    STRIDES = (8, 16)

    def __init__(self, classes: int = 3):
        super().__init__()
        self.stem = nn.Sequential(*self._block(3, 16), *self._block(16, 24), *self._block(24, 32))
        self.deep = nn.Sequential(*self._block(32, 48))
        self.heads = nn.ModuleList([nn.Conv2d(32, 5 + classes, 1), nn.Conv2d(48, 5 + classes, 1)])
        self.network = nn.ModuleList([self.stem, self.deep, self.heads])

    @staticmethod
    def _block(channels: int, out: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.SiLU()]

    def one(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        height, width = image.shape[-2:]
        x = nn.functional.pad(image[None], (0, -width % 32, 0, -height % 32), value=0.5)
        shallow = self.stem(x)
        found = []
        for head, features, stride, anchor in zip(
            self.heads, (shallow, self.deep(shallow)), self.STRIDES, self.ANCHORS, strict=True
        ):
            out = head(features)[0].permute(1, 2, 0)
            rows, columns = torch.meshgrid(torch.arange(out.shape[0]), torch.arange(out.shape[1]), indexing="ij")
            centres = (out[..., :2].sigmoid() + torch.stack([columns, rows], -1)) * stride
            boxes = torch.cat([centres, out[..., 2:4].exp() * torch.tensor(anchor)], -1)
            found.append(torch.cat([boxes, out[..., 4:5].sigmoid() * out[..., 5:].sigmoid()], -1).flatten(0, 1))
        found = torch.cat(found)
        scores, labels = found[:, 4:].max(1)
        likely = scores > 0.35
        boxes, scores, labels = found[likely, :4], scores[likely], labels[likely]
        boxes = box_convert(boxes, "cxcywh", "xyxy").clamp(min=0)
        boxes = torch.minimum(boxes, torch.tensor([width, height, width, height]))
        kept = batched_nms(boxes, scores, labels, 0.3)
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}

    def forward(self, images: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [self.one(image) for image in images]
