"""Face detection: facenet-pytorch's MTCNN on a picture at three sizes, then on its mirror image."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, computed_field
from rich.table import Table

from .part import Difference, Part, Program, Step, no_steps, run_both

if TYPE_CHECKING:
    from facenet_pytorch import MTCNN
    from PIL.Image import Image

SCALES = (1.0, 0.75, 1.5)
STEPS = 1 + 4 * len(SCALES)
PIXELS = 1.0
PROBABILITY = 1e-3


class Face(BaseModel):
    box: tuple[float, float, float, float]
    probability: float


class Found(BaseModel):
    """What was found in one picture."""

    picture: str
    cpu: list[Face]
    device: list[Face]

    def differences(self) -> tuple[float, float]:
        """The largest distance between edges in pixels, and between probabilities."""
        if len(self.cpu) != len(self.device) or not self.cpu:
            return math.inf, math.inf
        pairs = list(zip(self.cpu, self.device, strict=True))
        return (
            max(abs(a - b) for one, other in pairs for a, b in zip(one.box, other.box, strict=True)),
            max(abs(one.probability - other.probability) for one, other in pairs),
        )


class Faces(Part):
    found: list[Found]
    picture: Path

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differences(self) -> list[Difference]:
        boxes, probabilities = zip(*(one.differences() for one in self.found), strict=True)
        return [
            Difference(what="boxes (pixels)", largest=max(boxes), allowed=PIXELS),
            Difference(what="probabilities", largest=max(probabilities), allowed=PROBABILITY),
        ]

    def tables(self) -> list[Table]:
        table = Table("picture", "", "box", "probability", title="faces")
        for found in self.found:
            for where, faces in (("plain CPU", found.cpu), ("device", found.device)):
                boxes = "\n".join(" ".join(f"{edge:.2f}" for edge in face.box) for face in faces)
                probabilities = "\n".join(f"{face.probability:.6f}" for face in faces)
                table.add_row(found.picture, where, boxes or "no face", probabilities)
            table.add_section()
        return [table]


def run(output: Path, step: Step = no_steps, **mode: Any) -> Faces:
    """Detect the faces both ways, and draw those that the device found in `output/faces.png`."""
    with step("loading MTCNN"):
        from facenet_pytorch import MTCNN

        network = MTCNN(keep_all=True)
        pictures = {f"{picture.width} × {picture.height}": picture for picture in sizes()}

    first = [Program(label, partial(detect, network, picture)) for label, picture in pictures.items()]
    second = [
        Program(f"{label}, mirrored", partial(detect, network, mirrored(picture)))
        for label, picture in pictures.items()
    ]
    networks = [network.pnet, network.rnet, network.onet]
    cpu, device, figures = run_both(first, second, networks, step, **mode)

    found = [
        Found(picture=program.label, cpu=on_cpu, device=on_device)
        for program, on_cpu, on_device in zip([*first, *second], cpu, device, strict=True)
    ]
    return Faces(
        name="faces",
        found=found,
        figures=figures,
        picture=draw(next(iter(pictures.values())), device[0], output / "faces.png"),
    )


def sizes() -> list[Image]:
    """The astronaut that scikit-image ships, at each of SCALES."""
    from PIL import Image
    from skimage import data

    original = Image.fromarray(data.astronaut())
    return [original.resize((round(original.width * s), round(original.height * s))) for s in SCALES]


def mirrored(picture: Image) -> Image:
    from PIL import ImageOps

    return ImageOps.mirror(picture)


def detect(network: MTCNN, picture: Image) -> list[Face]:
    """The faces, largest first."""
    boxes, probabilities = network.detect(picture)
    if boxes is None:
        return []
    return [Face(box=tuple(box), probability=p) for box, p in zip(boxes, probabilities, strict=True)]


def draw(picture: Image, faces: list[Face], path: Path) -> Path:
    from PIL import ImageDraw

    annotated = picture.convert("RGB")
    pen = ImageDraw.Draw(annotated)
    for face in faces:
        pen.rectangle(face.box, outline="lime", width=3)
        pen.text((face.box[0], face.box[1] - 14), f"{face.probability:.5f}", fill="lime")
    path.parent.mkdir(parents=True, exist_ok=True)
    annotated.save(path)
    return path
