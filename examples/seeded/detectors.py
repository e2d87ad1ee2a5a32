"""Detectors with random weights that find several boxes in pictures of any size, no two of them with equal scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import detection

from .yolo import Yolo

SIZES = ((120, 90), (77, 131), (100, 100))  # height and width of the pictures that the weights are made with

# A model that takes a list of images, and those of its parts that are networks: the rest is pre- and post-processing.
Detector = tuple[Any, list[nn.Module]]


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


def single_shot(
    model: nn.Module, scores: Sequence[nn.Module], boxes: Sequence[nn.Module], classes: int = 1
) -> Detector:
    settle(model)
    spread(model, boxes, deviation=0.5, mean=0.0)
    spread(model, scores, deviation=1.0, mean=-3.5, classes=classes)
    return model, [model.backbone, model.head]


def ssdlite() -> Detector:
    model = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=4, score_thresh=0.5, nms_thresh=0.3
    )
    heads = model.head.classification_head.module_list, model.head.regression_head.module_list
    return single_shot(model, *([block[1] for block in head] for head in heads), classes=4)


def ssd() -> Detector:
    model = detection.ssd300_vgg16(weights=None, weights_backbone=None, num_classes=4, score_thresh=0.5, nms_thresh=0.3)
    return single_shot(model, model.head.classification_head.module_list, model.head.regression_head.module_list, 4)


def retinanet() -> Detector:
    model = detection.retinanet_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=96, max_size=160, score_thresh=0.5, nms_thresh=0.3
    )
    head = model.head
    return single_shot(model, [head.classification_head.cls_logits], [head.regression_head.bbox_reg])


def two_stage(make: Callable[..., Any], **keywords: Any) -> Detector:
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


def faster_rcnn() -> Detector:
    return two_stage(detection.fasterrcnn_mobilenet_v3_large_320_fpn, num_classes=4)


def mask_rcnn() -> Detector:
    model, networks = two_stage(detection.maskrcnn_resnet50_fpn, num_classes=4)
    spread(model, [model.roi_heads.mask_predictor.mask_fcn_logits], deviation=4.0, mean=0.0)
    return model, networks


def keypoint_rcnn() -> Detector:
    return two_stage(detection.keypointrcnn_resnet50_fpn, num_classes=2, num_keypoints=5)


def yolo() -> Detector:
    model = Yolo()
    settle(model)
    spread(model, list(model.heads), deviation=0.8, mean=-0.8)
    return model, [model.stem, model.deep, *model.heads]


BUILDERS = (yolo, ssdlite, ssd, retinanet, faster_rcnn, mask_rcnn, keypoint_rcnn)


def seeded(name: str) -> Detector:
    """What the function of this name makes, with the same weights each time."""
    (build,) = (build for build in BUILDERS if build.__name__ == name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()
