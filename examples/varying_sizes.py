"""A detector over pictures of different sizes, one after the other: no shape is fixed, and none is compiled for."""

import torch
from seeded import detectors

import ttreg

# With trained weights: torchvision.models.detection.ssdlite320_mobilenet_v3_large(weights="DEFAULT").eval()
model, _ = detectors.seeded("ssdlite")
pictures = [detectors.picture(*size) for size in ((120, 90), (77, 131), (100, 100), (201, 64))]

with ttreg.device_mode() as session, torch.no_grad():
    found = [model([picture])[0] for picture in pictures]

for picture, boxes in zip(pictures, found, strict=True):
    label, score = boxes["labels"][0], boxes["scores"][0]
    print(
        f"{picture.shape[2]} × {picture.shape[1]} pixels: {len(boxes['boxes'])} boxes, the best {score:.2f} ({label})"
    )
print(session.report())
