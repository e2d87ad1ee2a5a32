"""OpenPose with seeded weights, where the trained ones cannot be had: it finds people where they are said to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from controlnet_aux.open_pose import OpenposeDetector
from controlnet_aux.open_pose.body import Body, bodypose_model
from controlnet_aux.open_pose.face import Face, FaceNet
from controlnet_aux.open_pose.hand import Hand, handpose_model
from controlnet_aux.open_pose.util import faceDetect, handDetect
from controlnet_aux.util import HWC3, resize_image
from torch import Tensor, nn

# A standing person's 18 key points in OpenPose's order, as column and row of the body's heat maps, of which a cell is
# 1/23 of the picture's height. (The peak of a cell in column or row 11 or 34 would lie exactly between two pixels.)
PERSON = (
    (6, 3), (6, 6), (4, 6), (2, 9), (1, 12), (8, 6), (10, 9), (12, 12), (5, 12),
    (4, 16), (4, 19), (7, 12), (8, 16), (8, 19), (5, 2), (7, 2), (4, 3), (8, 3),
)  # fmt: skip
NECK, RIGHT_ARM, LEFT_ARM, LEGS, HEAD = {1}, {2, 3, 4}, {5, 6, 7}, {8, 9, 10, 11, 12, 13}, {0, 14, 15, 16, 17}
# The limbs by their key points, and the first of the two channels that hold each limb's direction.
LIMBS = {
    (1, 2): 12, (1, 5): 20, (2, 3): 14, (3, 4): 16, (5, 6): 22, (6, 7): 24, (1, 8): 0, (8, 9): 2, (9, 10): 4,
    (1, 11): 6, (11, 12): 8, (12, 13): 10, (1, 0): 28, (0, 14): 30, (14, 16): 34, (0, 15): 32, (15, 17): 36,
    (2, 16): 18, (5, 17): 26,
}  # fmt: skip

# Of the random layers' outputs, in standard deviations. At 0, ReLU would cut half of each, and forty such layers would
# make one rounding in bfloat16 a different picture.
MEAN = 1.5

Point = tuple[int, "tuple[int, int] | None"]  # a part, and the row and column of the heat map where it is, if given


def person(right: int = 0, down: int = 0, hidden: Collection[int] = ()) -> list[Point]:
    """PERSON, moved so many cells to the right and down, without the key points that are hidden."""
    return [(part, (row + down, column + right)) for part, (column, row) in enumerate(PERSON) if part not in hidden]


def detector(
    pictures: Sequence[np.ndarray], people: Sequence[list[Point]], thinner: int = 1, seed: int = 0
) -> OpenposeDetector:
    """An OpenposeDetector that finds `people[i]`, with hands and faces, in `pictures[i]` (height × width × 3, uint8).

    The three networks are OpenPose's own, with random weights. Of each, only the last two layers are fitted, to what
    the random layers below make of the pictures: every key point has a hidden unit that answers to the features of its
    cell and to no other's. So the heat maps depend on the picture and on every layer, and have peaks as clear as a
    trained network's. `thinner` divides the numbers of channels between.
    """
    torch.manual_seed(seed)
    body, hand, face = (kind.__new__(kind) for kind in (Body, Hand, Face))  # called, they would load weights
    body.model = _random(bodypose_model(), thinner)
    hand.model = _random(handpose_model(), thinner)
    face.model = _random(FaceNet(), thinner)

    seen = [resize_image(HWC3(picture), 512)[:, :, ::-1].copy() for picture in pictures]
    hidden, heat_maps = body.model.model6_2.Mconv6_stage6_L2, body.model.model6_2.Mconv7_stage6_L2
    _fit(body, seen, people, hidden, heat_maps, height=0.6)
    _point_along_limbs(body.model.model6_1.Mconv7_stage6_L1)

    found = [(picture, one) for picture in seen for one in body.format_body_result(*body(picture))]
    hands = [_square(picture, box) for picture, one in found for box in handDetect(one, picture)]
    faces = [_square(picture, box) for picture, one in found if (box := faceDetect(one, picture))]
    hidden, heat_maps = hand.model.model6.Mconv6_stage6, hand.model.model6.Mconv7_stage6
    _fit(hand, hands, _shared(21, len(hands), hidden), hidden, heat_maps, height=8.0)
    hidden, heat_maps = face.model.Mconv6_stage6, face.model.Mconv7_stage6
    _fit(face, faces, _shared(70, len(faces), hidden), hidden, heat_maps, height=1.0)
    return OpenposeDetector(body, hand, face)


def _random(network: nn.Module, thinner: int) -> nn.Module:
    """The network with random weights that answer to differences, not to brightness, and perhaps fewer channels."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            inputs, outputs = layer.in_channels, layer.out_channels
            if not re.search("Mconv[67]_stage6", name):
                inputs = _thinned(inputs, thinner)
            if not re.search("Mconv[56]_stage6", name):
                outputs = _thinned(outputs, thinner)
            other = nn.Conv2d(inputs, outputs, layer.kernel_size, layer.stride, layer.padding).requires_grad_(False)
            other.weight.normal_()
            other.weight -= other.weight.mean((1, 2, 3), keepdim=True)
            parent, _, own_name = name.rpartition(".")
            setattr(network.get_submodule(parent), own_name, other)
    return network.eval()


def _thinned(channels: int, thinner: int) -> int:
    if channels in (3, 38, 19, 22, 71):  # the picture, and each network's outputs
        return channels
    heat_maps = {185: 38 + 19, 150: 22, 199: 71}.get(channels, 0)  # which go into the next stage beside 128 features
    return heat_maps + (channels - heat_maps) // thinner


def _fit(
    estimate: Callable[[np.ndarray], Any],
    pictures: Sequence[np.ndarray],
    points: Sequence[list[Point]],
    hidden: nn.Conv2d,
    heat_maps: nn.Conv2d,
    height: float,
) -> None:
    """Give each part of `points[i]` a peak of this height at its cell of picture i, or where that is most distinct."""
    for layer in (hidden, heat_maps):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    convolutions = [layer for layer in estimate.model.modules() if isinstance(layer, nn.Conv2d)]
    with _hooked([layer for layer in convolutions if layer not in (hidden, heat_maps)], _standardise):
        estimate(pictures[0])

    maps: list[Tensor] = []  # of features, channels × rows × columns
    with _hooked([hidden], lambda layer, inputs, output: maps.append(inputs[0][0].double())):
        for picture in pictures:
            estimate(picture)
    per_picture = len(maps) // len(pictures)  # a hand is looked at in four sizes, of which the second is the plain one
    everywhere = torch.cat([one.flatten(1).T for one in maps])
    mean = everywhere.mean(0)
    everywhere -= mean
    covariance = everywhere.T @ everywhere / len(everywhere)
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(mean))

    units = iter(range(hidden.out_channels))
    for index, wanted in enumerate(points):
        features = maps[index * per_picture + (per_picture > 1)] - mean[:, None, None]
        directions = torch.linalg.solve(covariance, features.flatten(1)).view_as(features)
        strength = (directions * features).sum(0)
        distinct = _most_distinct(strength)
        for part, cell in wanted:
            row, column = cell or next(distinct)
            direction = directions[:, row, column] / strength[row, column]
            threshold = 0.5 + 0.5 * (everywhere @ direction).topk(2).values[1]  # half-way from the next-best cell to 1
            if threshold > 0.95:
                raise ValueError(f"part {part} of picture {index} looks too much like another place")
            unit = next(units)
            hidden.weight[unit, :, 0, 0] = direction / (1 - threshold)
            hidden.bias[unit] = -(mean @ direction + threshold) / (1 - threshold)
            heat_maps.weight[part, unit] = height


def _most_distinct(strength: Tensor) -> Iterator[tuple[int, int]]:
    """The cells by falling strength, apart from the border, from each other, and from ties between pixels."""
    kept: list[tuple[int, int]] = []
    for index in strength.flatten().argsort(descending=True).tolist():
        row, column = divmod(index, strength.shape[1])
        inside = all(
            2 <= at < size - 2 and at % 23 != 11 for at, size in zip((row, column), strength.shape, strict=True)
        )
        if inside and all(max(abs(row - r), abs(column - c)) > 2 for r, c in kept):
            kept.append((row, column))
            yield row, column


@contextmanager
def _hooked(layers: Sequence[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _standardise(layer: nn.Conv2d, _: Any, output: Tensor) -> Tensor:
    """Make each channel of the output have mean MEAN and deviation 1, by the weights."""
    mean, deviation = output.mean((0, 2, 3)), output.std((0, 2, 3))
    layer.weight /= deviation[:, None, None, None]
    layer.bias.copy_(MEAN + (layer.bias - mean) / deviation)
    return MEAN + (output - mean[:, None, None]) / deviation[:, None, None]


def _point_along_limbs(fields: nn.Conv2d) -> None:
    """Let the part affinity fields point as the limbs of PERSON do, give or take what the picture adds."""
    fields.weight *= 0.1
    fields.bias.copy_(0.1 * (fields.bias - MEAN))
    for (start, end), channel in LIMBS.items():
        direction = torch.tensor(PERSON[end], dtype=torch.float) - torch.tensor(PERSON[start])
        fields.bias[channel : channel + 2] += direction / direction.norm()


def _square(picture: np.ndarray, box: Sequence[int]) -> np.ndarray:
    x, y, width = box[:3]
    return picture[y : y + width, x : x + width]


def _shared(parts: int, pictures: int, hidden: nn.Conv2d) -> list[list[Point]]:
    """For each picture as many parts as there are hidden units for, other ones each time."""
    each = min(parts, hidden.out_channels // pictures)
    return [[((index * each + i) % parts, None) for i in range(each)] for index in range(pictures)]
