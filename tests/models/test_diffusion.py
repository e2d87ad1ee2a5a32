"""diffusers' Stable Diffusion pipelines, whole, with small seeded networks: the device's images are the CPU's."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ttreg
from ttreg.checking.compare import pcc

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT, LONG = "cat", "photo of an astronaut in space, and of a cat, and of much else for which no word is left"


@pytest.fixture(scope="module")
def pipeline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        return importlib.import_module("seeded.diffusion").pipeline()


@pytest.fixture(scope="module")
def picture() -> Any:
    from PIL import Image
    from skimage import data

    return Image.fromarray(data.astronaut()).resize((128, 128))


def scheduled(pipeline: Any, scheduler: str, **changes: Any) -> Any:
    """The pipeline with another of diffusers' schedulers; a scheduler counts its steps, so that each run wants its own.

    The class of the pipeline stays.
    """
    import diffusers

    made = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config, **changes)
    other = type(pipeline)(**{**pipeline.components, "scheduler": made}, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


def to_image(pipeline: Any) -> Any:
    from diffusers import StableDiffusionImg2ImgPipeline

    other = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    return other


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def unlike(images: np.ndarray) -> bool:
    """Whether the first two images have contrast, and are further apart than the same image may be."""
    first, second = (torch.from_numpy(image) for image in images[:2])
    return bool(first.std() > 0.1 and second.std() > 0.1 and pcc(first, second) < 0.9)


def test_prompts_of_different_lengths_in_four_steps(pipeline: Any, beside_cpu: Any) -> None:
    made = []

    def program() -> np.ndarray:
        made.append(pipeline([SHORT, LONG], num_inference_steps=4, generator=seeded(1, 2), output_type="np").images)
        return made[-1]

    beside_cpu(program)
    assert made[-1].shape == (2, 128, 128, 3)
    assert unlike(made[-1])


def test_validated(pipeline: Any, beside_cpu: Any) -> None:
    report = beside_cpu(
        lambda: pipeline(SHORT, num_inference_steps=1, generator=seeded(1), output_type="np").images, validate=True
    )
    assert report.device.validated


@pytest.mark.long
@pytest.mark.parametrize("prompt", [LONG, [LONG, SHORT]], ids=["one prompt", "two prompts"])
@pytest.mark.parametrize("steps", [4, 25])
@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",  # draws noise in each step
        "DPMSolverMultistepScheduler",
    ],
)
def test_schedulers(scheduler: str, steps: int, prompt: Any, pipeline: Any, beside_cpu: Any) -> None:
    def program() -> np.ndarray:
        run = scheduled(pipeline, scheduler)
        return run(prompt, num_inference_steps=steps, generator=seeded(3)[0], output_type="np").images

    beside_cpu(program)


@pytest.mark.long
def test_the_seed_and_the_prompt_make_the_image(pipeline: Any) -> None:
    def image(prompt: str, seed: int) -> np.ndarray:
        return pipeline(prompt, num_inference_steps=4, generator=seeded(seed), output_type="np").images[0]

    with ttreg.device_mode(device="emulated"):
        first, again, other_seed, other_prompt = image(SHORT, 1), image(SHORT, 1), image(SHORT, 2), image(LONG, 1)
    assert np.array_equal(first, again)
    assert unlike(np.stack([first, other_seed]))
    assert not np.allclose(first, other_prompt, atol=1e-3)


OPTIONS: dict[str, dict[str, Any]] = {
    "without guidance": {"guidance_scale": 1.0},
    "strong guidance, and a negative prompt": {"guidance_scale": 12.0, "negative_prompt": "photo of space"},
    "rescaled guidance": {"guidance_rescale": 0.7},
    "several images of a prompt": {"num_images_per_prompt": 2},
    "wide": {"height": 64, "width": 192},
    "noise in every step": {"eta": 0.7},
    "latents": {"output_type": "latent"},
    "tensors": {"output_type": "pt"},
}


@pytest.mark.long
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(options: dict[str, Any], pipeline: Any, beside_cpu: Any) -> None:
    keywords = {"num_inference_steps": 4, "output_type": "np", **options}
    beside_cpu(lambda: pipeline(SHORT, generator=seeded(5)[0], **keywords).images)


@pytest.mark.long
def test_a_callback_sees_and_changes_the_latents(pipeline: Any, beside_cpu: Any) -> None:
    def program() -> tuple[list[float], np.ndarray]:
        seen = []

        def halve_outliers(pipeline: Any, step: int, time: Any, given: dict[str, Any]) -> dict[str, Any]:
            latents = given["latents"]
            seen.append(latents.abs().max().item())
            latents[latents > 2] *= 0.5
            return {"latents": latents}

        images = pipeline(
            SHORT, num_inference_steps=4, generator=seeded(6), output_type="np", callback_on_step_end=halve_outliers
        ).images
        return seen, images

    beside_cpu(program, least_share=0.9)  # the callback's masked write is the host's


@pytest.mark.long
@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_image_to_image(strength: float, pipeline: Any, picture: Any, beside_cpu: Any) -> None:
    def program() -> np.ndarray:
        run = to_image(pipeline)
        return run(
            LONG, picture, strength=strength, num_inference_steps=5, generator=seeded(7)[0], output_type="np"
        ).images

    beside_cpu(program)


@pytest.mark.long
def test_pictures_for_people(pipeline: Any, beside_cpu: Any) -> None:
    def program() -> list[np.ndarray]:
        images = pipeline([SHORT, LONG], num_inference_steps=4, generator=seeded(8)[0]).images
        return [np.array(image).astype(np.float32) for image in images]  # a level of 255 may round the other way

    beside_cpu(program)


@pytest.mark.long
def test_float32_carried_in_bfloat16_beside_float32(pipeline: Any, beside_cpu: Any) -> None:
    def program() -> np.ndarray:
        return pipeline(LONG, num_inference_steps=4, generator=seeded(9), output_type="np").images

    beside_cpu(program, precision="bfloat16")


@pytest.mark.long
def test_a_bfloat16_pipeline_beside_the_same_on_cpu(beside_cpu: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        narrow = importlib.import_module("seeded.diffusion").pipeline().to(torch.bfloat16)
    beside_cpu(lambda: narrow(LONG, num_inference_steps=4, generator=seeded(9), output_type="np").images)


WRONG: dict[str, dict[str, Any]] = {
    "no prompt": {"prompt": []},
    "nothing": {"prompt": None},
    "a number for a prompt": {"prompt": 3},
    "a height that is no multiple of 8": {"prompt": SHORT, "height": 100, "width": 128},
    "two negative prompts for one prompt": {"prompt": [SHORT], "negative_prompt": [SHORT, LONG]},
    "two generators for one prompt": {"prompt": SHORT, "generator": seeded(1, 2)},
    "no steps": {"prompt": SHORT, "num_inference_steps": 0},
    "latents of another size": {"prompt": SHORT, "latents": torch.ones(1, 3, 16, 16)},
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_errors_come_out_unchanged(arguments: dict[str, Any], pipeline: Any) -> None:
    keywords = {"num_inference_steps": 1, "output_type": "np", **arguments}
    expected = error_of(lambda: pipeline(**keywords))
    right = {"prompt": SHORT, "num_inference_steps": 1, "output_type": "np"}
    with ttreg.device_mode(device="emulated"):
        assert error_of(lambda: pipeline(**keywords)) == expected
        images = pipeline(**right, generator=seeded(1)).images
    assert pcc(torch.from_numpy(images), torch.from_numpy(pipeline(**right, generator=seeded(1)).images)) > 0.99


def test_a_corrupt_image(pipeline: Any, picture: Any) -> None:
    from PIL import Image

    file = io.BytesIO()
    picture.save(file, "PNG")
    run = to_image(pipeline)

    def broken() -> Any:
        return run(SHORT, Image.open(io.BytesIO(file.getvalue()[:2000])), num_inference_steps=2)

    def whole() -> np.ndarray:
        return run(SHORT, picture, num_inference_steps=2, generator=seeded(1), output_type="np").images

    expected = error_of(broken)
    assert "truncated" in expected
    with ttreg.device_mode(device="emulated"):
        assert error_of(broken) == expected
        images = whole()
    assert pcc(torch.from_numpy(images), torch.from_numpy(whole())) > 0.99


def error_of(program: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- which one it is, is what is compared
        program()
    return f"{caught.type.__name__}: {caught.value}"
