"""Models of pictures that no package has, or that one would have to download the source of."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class LinearAE(nn.Module):
    """An autoencoder of seven linear layers for pictures of handwritten digits."""

    def __init__(self, sizes: tuple[int, ...] = (784, 128, 64, 12, 3)):
        super().__init__()
        ways = list(pairwise(sizes))
        ways += [(b, a) for a, b in reversed(ways)]
        layers: list[nn.Module] = []
        for number, (ins, outs) in enumerate(ways, 1):
            layers += [nn.Linear(ins, outs), nn.ReLU() if number < len(ways) else nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Mnist(nn.Module):
    """PyTorch's example for handwritten digits."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))

    def forward(self, x: Tensor) -> Tensor:
        return torch.log_softmax(self.head(self.convolutions(x)), 1)


def _twice(ins: int, outs: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels in (ins, outs):
        parts += [nn.Conv2d(channels, outs, 3, padding=1, bias=False), nn.BatchNorm2d(outs), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


class UNet(nn.Module):
    """The U-Net for segmenting brains (mateuszbuda/brain-segmentation-pytorch)."""

    def __init__(self, ins: int = 3, outs: int = 1, width: int = 32):
        super().__init__()
        widths = [width * 2**n for n in range(5)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([ins, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.joined = nn.ModuleList(_twice(2 * a, a) for a in widths[:4])
        self.last = nn.Conv2d(width, outs, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(4)):
            x = self.joined[level](torch.cat((self.up[level](x), kept[level]), 1))
        return torch.sigmoid(self.last(x))


def _leaky(ins: int, outs: int, size: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(ins, outs, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outs), nn.LeakyReLU(0.1))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_leaky(width, width // 2, 1), _leaky(width // 2, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Yolov3(nn.Module):
    """YOLOv3: Darknet-53, and three heads over a pyramid."""

    def __init__(self, outs: int = 255, width: int = 32):
        super().__init__()
        stages = []
        for number, blocks in enumerate((1, 2, 8, 8, 4)):
            ins = width * 2**number
            stages.append(nn.Sequential(_leaky(ins, 2 * ins, 3, 2), *(_Residual(2 * ins) for _ in range(blocks))))
        self.first, self.stages = _leaky(3, width, 3), nn.ModuleList(stages)
        sizes = [width * 16, width * 8, width * 4]  # of the heads, coarse ones first
        self.necks, self.heads, self.ways = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for number, size in enumerate(sizes):
            ins = 2 * size if number == 0 else 3 * size
            self.necks.append(
                nn.Sequential(
                    *(
                        _leaky(size * 2 if n % 2 else (ins if n == 0 else 2 * size), size, 1)
                        if n % 2 == 0
                        else _leaky(size, 2 * size, 3)
                        for n in range(5)
                    )
                )
            )
            self.heads.append(nn.Sequential(_leaky(size, 2 * size, 3), nn.Conv2d(2 * size, outs, 1)))
            if number < 2:
                self.ways.append(_leaky(size, size // 2, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, kept = self.first(x), []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        found, x = [], kept[-1]
        for number in range(3):
            x = self.necks[number](x)
            found.append(self.heads[number](x))
            if number < 2:
                x = nn.functional.interpolate(self.ways[number](x), scale_factor=2, mode="nearest")
                x = torch.cat((x, kept[-2 - number]), 1)
        return found


def _linked(layer: int, base: int, growth: int) -> tuple[int, int, list[int]]:
    """What a layer of a harmonic block gives and takes, and the layers that it is linked to."""
    if layer == 0:
        return base, 0, []
    links = [layer - 2**n for n in range(10) if layer % 2**n == 0]
    outs = float(growth)
    for _ in links[1:]:
        outs *= 1.7
    whole = int(int(outs + 1) / 2) * 2
    return whole, sum(_linked(link, base, growth)[0] for link in links), links


class _Harmonic(nn.Module):
    def __init__(self, base: int, growth: int, layers: int):
        super().__init__()
        said = [_linked(n + 1, base, growth) for n in range(layers)]
        self.links = [links for _, _, links in said]
        self.layers = nn.ModuleList(_relu6(ins, outs, 3) for outs, ins, _ in said)
        self.outs = sum(outs for n, (outs, _, _) in enumerate(said) if n == layers - 1 or n % 2 == 0)

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for layer, links in zip(self.layers, self.links, strict=True):
            seen = [made[link] for link in links]
            made.append(layer(torch.cat(seen, 1) if len(seen) > 1 else seen[0]))
        count = len(made)
        return torch.cat([made[n] for n in range(count) if n == count - 1 or n % 2 == 1], 1)


def _relu6(ins: int, outs: int, size: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(ins, outs, size, stride, size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outs), nn.ReLU6(True))


class HarDNet68(nn.Module):
    """HarDNet-68: densely connected, by powers of two."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        layers: list[nn.Module] = [_relu6(3, 32, 3, 2), _relu6(32, 64, 3), nn.MaxPool2d(3, 2, 1)]
        ins = 64
        plan = zip((128, 256, 320, 640, 1024), (14, 16, 20, 40, 160), (8, 16, 16, 16, 4), (1, 0, 1, 1, 0), strict=True)
        for outs, growth, depth, halved in plan:
            block = _Harmonic(ins, growth, depth)
            layers += [block, _relu6(block.outs, outs, 1)] + ([nn.MaxPool2d(2, 2)] if halved else [])
            ins = outs
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(ins, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class LightOpenPose(nn.Module):
    """Lightweight OpenPose: a MobileNet, and stages that find joints and the limbs between them."""

    def __init__(self, joints: int = 19, limbs: int = 38, width: int = 128, refining: int = 1):
        super().__init__()
        plan = [
            (32, 64, 1),
            (64, 128, 2),
            (128, 128, 1),
            (128, 256, 2),
            (256, 256, 1),
            (256, 512, 1),
            *[(512, 512, 1)] * 5,
        ]
        self.backbone = nn.Sequential(_bn(3, 32, 2), *(_apart(a, b, stride) for a, b, stride in plan))
        self.align = nn.Sequential(nn.Conv2d(512, width, 1), nn.ReLU(True))
        self.trunk = nn.Sequential(*(_bn(width, width) for _ in range(3)))
        self.first = nn.ModuleList(self._head(width, outs) for outs in (joints, limbs))
        ins = width + joints + limbs
        self.refine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(ins, width, 1), nn.ReLU(True), *(_bn(width, width) for _ in range(4)))
            for _ in range(refining)
        )
        self.later = nn.ModuleList(self._head(width, outs) for _ in range(refining) for outs in (joints, limbs))

    @staticmethod
    def _head(width: int, outs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(width, 512, 1), nn.ReLU(True), nn.Conv2d(512, outs, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        seen = self.align(self.backbone(x))
        seen = seen + self.trunk(seen)
        found = [head(seen) for head in self.first]
        for number, refine in enumerate(self.refine):
            x = refine(torch.cat([seen, *found[-2:]], 1))
            found += [self.later[2 * number](x), self.later[2 * number + 1](x)]
        return found


def _bn(ins: int, outs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU(True))


def _apart(ins: int, outs: int, stride: int) -> nn.Sequential:
    deep = nn.Conv2d(ins, ins, 3, stride, 1, groups=ins, bias=False)
    return nn.Sequential(
        deep,
        nn.BatchNorm2d(ins),
        nn.ReLU(True),
        nn.Conv2d(ins, outs, 1, bias=False),
        nn.BatchNorm2d(outs),
        nn.ReLU(True),
    )
