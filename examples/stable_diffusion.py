"""Text to images with diffusers' StableDiffusionPipeline, written as for any other device."""

import torch
from seeded import diffusion

import ttreg

pipeline = diffusion.pipeline()  # with trained weights: StableDiffusionPipeline.from_pretrained(...)
prompts = ["an astronaut", "photo of a cat in space, with an astronaut"]

with ttreg.device_mode() as session:
    images = pipeline(prompts, num_inference_steps=4, generator=torch.Generator().manual_seed(0)).images

for prompt, image in zip(prompts, images, strict=True):
    print(f"{prompt}: {image.width} × {image.height} pixels, {len(image.getcolors(maxcolors=1 << 24))} colours")
print(session.report())
