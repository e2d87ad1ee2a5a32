"""Detectors over pictures of different sizes: the boxes, labels and scores that they find on CPU."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

SIZES = ((120, 90), (77, 131), (100, 100))
SMALL = ["yolo", "ssdlite"]
LARGE = ["ssd", "retinanet", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"]


@pytest.fixture(scope="module")
def detectors() -> Any:
    """Detectors with seeded weights: examples/seeded/detectors.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        return importlib.import_module("seeded.detectors")


@pytest.fixture
def boxes_beside_cpu(detectors, beside_cpu):
    """Several boxes are found in each of the pictures, with scores that differ; the device finds the same ones."""

    def check(name, sizes=SIZES, **keywords):
        model, networks = detectors.seeded(name)
        images = [detectors.picture(*size) for size in sizes]
        runs = []

        def program():
            with torch.no_grad():
                runs.append([model(images), model(images[:1])])
            return runs[-1]

        beside_cpu(program, networks=networks, **keywords)
        for expected, given in zip(runs[0][0], runs[1][0], strict=True):
            scores = expected["scores"]
            assert len(scores) >= 3
            assert len(scores.unique()) == len(scores)
            torch.testing.assert_close(given["boxes"], expected["boxes"], rtol=0.0, atol=0.1)
            torch.testing.assert_close(given["scores"], scores, rtol=0.0, atol=1e-3)

    return check


@pytest.mark.parametrize("name", SMALL)
def test_pictures_of_different_sizes(name, boxes_beside_cpu):
    boxes_beside_cpu(name)


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE)
def test_large_detectors(name, boxes_beside_cpu):
    boxes_beside_cpu(name)


def test_in_real_ttnn(boxes_beside_cpu):
    boxes_beside_cpu("yolo", sizes=SIZES[:1], validate=True)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ssdlite", "retinanet", "faster_rcnn"])
def test_large_detectors_in_real_ttnn(name, boxes_beside_cpu):
    boxes_beside_cpu(name, sizes=SIZES[1:2], validate=True)


def test_nothing_is_found_in_some(detectors, beside_cpu):
    model, networks = detectors.seeded("yolo")
    plain = torch.full((3, 64, 80), 0.5)

    def program():
        with torch.no_grad():
            return model([plain, detectors.picture(77, 131), plain])

    assert [len(found["boxes"]) > 0 for found in program()] == [False, True, False]
    beside_cpu(program, networks=networks)


def test_a_pyramid_of_one_picture(detectors, beside_cpu):
    """One network over a picture at four scales, whose boxes are brought back and thinned out together."""
    from torchvision.ops import nms

    model, networks = detectors.seeded("yolo")
    image = detectors.picture(150, 180)

    def program():
        found = []
        with torch.no_grad():
            for scale in (1.0, 0.75, 0.5, 0.3):
                (at_scale,) = model([torch.nn.functional.interpolate(image[None], scale_factor=scale, mode="area")[0]])
                found.append((at_scale["boxes"] / scale, at_scale["scores"]))
            boxes, scores = (torch.cat(parts) for parts in zip(*found, strict=True))
            kept = nms(boxes, scores, 0.3)
            return boxes[kept], scores[kept]

    assert len(program()[0]) > 5
    beside_cpu(program, networks=networks)
