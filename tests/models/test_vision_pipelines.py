"""transformers' pipelines over images, whole, with small seeded models: the device's answers are the CPU's."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("transformers")
long = pytest.mark.long

LABELS = ["cat", "woman", "cup of coffee"]
CLASSIFIERS = ("vit", "resnet")
DETECTORS = ("yolos", "detr")


def pipeline(small: Any, task: str, network: str) -> Any:
    from transformers import pipeline

    model, image_processor = getattr(small, network)()
    tokenizer = {"tokenizer": small.clip_tokenizer()} if network == "clip" else {}
    return pipeline(task, model=model, image_processor=image_processor, **tokenizer)


@pytest.mark.parametrize(
    ("network", "batch_size"),
    [("vit", 3), pytest.param("vit", 1, marks=long), *(pytest.param("resnet", n, marks=long) for n in (1, 3))],
)
def test_classification(small, beside_cpu, network, batch_size):
    pipe = pipeline(small, "image-classification", network)
    beside_cpu(lambda: pipe(small.photographs(), batch_size=batch_size, top_k=3), networks=[pipe.model])


@pytest.mark.parametrize("network", ["yolos", pytest.param("detr", marks=long)])
def test_detection(small, beside_cpu, network):
    pipe = pipeline(small, "object-detection", network)
    found = pipe(small.photographs(), threshold=0.4)
    assert all(found)
    assert len({str(one["box"]) for image in found for one in image}) > len(found)
    beside_cpu(lambda: pipe(small.photographs(), threshold=0.4), networks=[pipe.model])


@long
@pytest.mark.parametrize("network", DETECTORS)
def test_detection_in_a_batch(small, beside_cpu, network):
    pipe = pipeline(small, "object-detection", network)
    images = [image.resize((80, 60)) for image in small.photographs()]
    beside_cpu(lambda: pipe(images, batch_size=3, threshold=0.4), networks=[pipe.model])


@long
def test_detection_in_a_padded_batch(small, beside_cpu):
    model, processor = small.detr()
    sizes = [image.size[::-1] for image in small.photographs()]

    def program():
        inputs = processor(small.photographs(), return_tensors="pt")
        outputs = model(**inputs)
        found = processor.post_process_object_detection(outputs, threshold=0.4, target_sizes=sizes)
        return inputs["pixel_mask"], [{name: value.detach() for name, value in one.items()} for one in found]

    beside_cpu(program, networks=[model])


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=long), 3])
def test_zero_shot_classification(small, beside_cpu, batch_size):
    pipe = pipeline(small, "zero-shot-image-classification", "clip")
    beside_cpu(lambda: pipe(small.photographs(), candidate_labels=LABELS, batch_size=batch_size), networks=[pipe.model])


@long
@pytest.mark.parametrize("network", [*CLASSIFIERS, *DETECTORS])
def test_validated(small, beside_cpu, network):
    task = "image-classification" if network in CLASSIFIERS else "object-detection"
    pipe = pipeline(small, task, network)
    report = beside_cpu(lambda: pipe(small.photographs()[0]), networks=[pipe.model], validate=True)
    assert report.device.validated


@long
def test_zero_shot_classification_validated(small, beside_cpu):
    pipe = pipeline(small, "zero-shot-image-classification", "clip")
    beside_cpu(lambda: pipe(small.photographs()[0], candidate_labels=LABELS), networks=[pipe.model], validate=True)


def test_a_corrupt_image(small, fails_as_on_cpu, tmp_path):
    from PIL import UnidentifiedImageError

    path = tmp_path / "corrupt.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    pipe = pipeline(small, "image-classification", "vit")
    fails_as_on_cpu(lambda: pipe(str(path)), UnidentifiedImageError, lambda: pipe(small.photographs()[0]))


@long
@pytest.mark.parametrize("image", [7, None, "no such file.png", [None]])
def test_what_is_no_image(small, fails_as_on_cpu, image):
    pipe = pipeline(small, "image-classification", "vit")
    fails_as_on_cpu(lambda: pipe(image), (ValueError, TypeError), lambda: pipe(small.photographs()[0]))


@long
@pytest.mark.parametrize("network", DETECTORS)
def test_images_of_unequal_size_in_a_batch(small, fails_as_on_cpu, network):
    pipe = pipeline(small, "object-detection", network)
    images = small.photographs()
    fails_as_on_cpu(lambda: pipe(images, batch_size=3), RuntimeError, lambda: pipe(images[0]))


@long
@pytest.mark.parametrize("labels", [[], None, 7])
def test_what_are_no_labels(small, fails_as_on_cpu, labels):
    pipe = pipeline(small, "zero-shot-image-classification", "clip")
    image = small.photographs()[0]
    fails_as_on_cpu(
        lambda: pipe(image, candidate_labels=labels),
        (ValueError, TypeError, IndexError, RuntimeError),
        lambda: pipe(image, candidate_labels=LABELS),
    )
