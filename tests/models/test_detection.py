"""Detectors over pictures of different sizes: the boxes, labels and scores that they find on CPU."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import detection
from torchvision.ops import batched_nms, box_convert

SIZES = ((120, 90), (77, 131), (100, 100))


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Three channels of soft spots, of values between 0 and 1."""
    generator = torch.Generator().manual_seed(10_007 * seed + 101 * height + width)
    spots = torch.rand(1, 3, 6, 7, generator=generator)
    return interpolate(spots, (height, width), mode="bicubic").clamp(0, 1)[0]


def settle(model: nn.Module) -> None:
    """Take the running statistics from pictures, so that random weights keep their activations in range."""
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
            module.train()
    with torch.no_grad():
        model([picture(*size) for size in SIZES])
    model.eval()


def spread(model: nn.Module, layers: Sequence[nn.Module], deviation: float, mean: float, classes: int = 1) -> None:
    """Give what the layers put out over pictures this mean and standard deviation; the first of the classes, the
    background, gets 0 as its mean. So a few of thousands of random boxes score well, and no two alike."""
    outputs: list[tuple[nn.Module, torch.Tensor]] = []
    hooks = [layer.register_forward_hook(lambda layer, _, out: outputs.append((layer, out))) for layer in layers]
    with torch.no_grad():
        model([picture(*size) for size in SIZES])
        for hook in hooks:
            hook.remove()
        for layer in layers:
            made = [out for of, out in outputs if of is layer]
            rows = torch.cat([(out.movedim(1, -1) if out.ndim == 4 else out).flatten(0, -2) for out in made])
            factor = deviation / (rows - rows.mean(0)).std()
            layer.weight *= factor
            background = torch.arange(rows.shape[1]) % classes == 0 if classes > 1 else torch.zeros(1, dtype=torch.bool)
            layer.bias.copy_((layer.bias - rows.mean(0)) * factor + torch.where(background, 0.0, mean))


def single_shot(model: nn.Module, scores: Sequence[nn.Module], boxes: Sequence[nn.Module], classes: int = 1):
    settle(model)
    spread(model, boxes, deviation=0.5, mean=0.0)
    spread(model, scores, deviation=1.0, mean=-3.5, classes=classes)
    return model, [model.backbone, model.head]


def ssdlite():
    model = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.5, nms_thresh=0.3
    )
    heads = model.head.classification_head.module_list, model.head.regression_head.module_list
    return single_shot(model, *([block[1] for block in head] for head in heads), classes=4)


def ssd():
    model = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.5, nms_thresh=0.3)
    return single_shot(model, model.head.classification_head.module_list, model.head.regression_head.module_list, 4)


def retinanet():
    model = detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=160, score_thresh=0.5, nms_thresh=0.3
    )
    head = model.head
    return single_shot(model, [head.classification_head.cls_logits], [head.regression_head.bbox_reg])


def two_stage(make, **keywords):
    model = make(
        weights=None,
        weights_backbone=None,
        min_size=96,
        max_size=160,
        rpn_post_nms_top_n_test=50,
        box_score_thresh=0.45,
        box_nms_thresh=0.3,
        **keywords,
    )
    classes = keywords["num_classes"]
    settle(model)
    spread(model, [model.rpn.head.cls_logits], deviation=2.0, mean=0.0)
    spread(model, [model.rpn.head.bbox_pred], deviation=0.5, mean=0.0)
    spread(model, [model.roi_heads.box_predictor.bbox_pred], deviation=1.0, mean=0.0)
    spread(model, [model.roi_heads.box_predictor.cls_score], deviation=1.0, mean=-0.7, classes=classes)
    roi = model.roi_heads
    names = ("box_head", "box_predictor", "mask_head", "mask_predictor", "keypoint_head", "keypoint_predictor")
    heads = [getattr(roi, name, None) for name in names]
    return model, [model.backbone, model.rpn.head, *(head for head in heads if head is not None)]


def faster_rcnn():
    return two_stage(detection.fasterrcnn_mobilenet_v3_large_320_fpn, num_classes=4)


def mask_rcnn():
    model, networks = two_stage(detection.maskrcnn_resnet50_fpn, num_classes=4)
    spread(model, [model.roi_heads.mask_predictor.mask_fcn_logits], deviation=4.0, mean=0.0)
    return model, networks


def keypoint_rcnn():
    return two_stage(detection.keypointrcnn_resnet50_fpn, num_classes=2, num_keypoints=5)


class Yolo(nn.Module):
    """A head in YOLO's manner on two scales of a small backbone, for one picture of any size."""

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


def yolo():
    model = Yolo()
    settle(model)
    spread(model, list(model.heads), deviation=0.8, mean=-0.8)
    return model, [model.stem, model.deep, *model.heads]


def made(build):
    torch.manual_seed(0)
    return build()


def boxes_beside_cpu(beside_cpu, build, sizes=SIZES, **keywords):
    """Several boxes are found in each of the pictures, with scores that differ; the device finds the same ones."""
    model, networks = made(build)
    images = [picture(*size) for size in sizes]
    runs = []

    def program():
        with torch.no_grad():
            runs.append([model(images), model(images[:1])])
        return runs[-1]

    report = beside_cpu(program, networks=networks, **keywords)
    for expected, given in zip(runs[0][0], runs[1][0], strict=True):
        scores = expected["scores"]
        assert len(scores) >= 3
        assert len(scores.unique()) == len(scores)
        torch.testing.assert_close(given["boxes"], expected["boxes"], rtol=0.0, atol=0.1)
        torch.testing.assert_close(given["scores"], scores, rtol=0.0, atol=1e-3)
    return report


@pytest.mark.parametrize("build", [yolo, ssdlite])
def test_pictures_of_different_sizes(build, beside_cpu):
    boxes_beside_cpu(beside_cpu, build)


@pytest.mark.long
@pytest.mark.parametrize("build", [ssd, retinanet, faster_rcnn, mask_rcnn, keypoint_rcnn])
def test_large_detectors(build, beside_cpu):
    boxes_beside_cpu(beside_cpu, build)


def test_in_real_ttnn(beside_cpu):
    boxes_beside_cpu(beside_cpu, yolo, sizes=SIZES[:1], validate=True)


@pytest.mark.long
@pytest.mark.parametrize("build", [ssdlite, retinanet, faster_rcnn])
def test_large_detectors_in_real_ttnn(build, beside_cpu):
    boxes_beside_cpu(beside_cpu, build, sizes=SIZES[1:2], validate=True)


def test_nothing_is_found_in_some(beside_cpu):
    model, networks = made(yolo)
    plain = torch.full((3, 64, 80), 0.5)

    def program():
        with torch.no_grad():
            return model([plain, picture(77, 131), plain])

    assert not len(program()[0]["boxes"])
    beside_cpu(program, networks=networks)
