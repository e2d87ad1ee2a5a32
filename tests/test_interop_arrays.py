"""NumPy, SciPy, scikit-image, matplotlib, Pillow and torchvision's transforms take tensors of the device."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import skimage.exposure
import skimage.filters
import skimage.measure
import torch
import torchvision.transforms.v2 as transforms
from PIL import Image
from torchvision.transforms.v2 import functional as images

matplotlib.use("agg")
from matplotlib import pyplot

PROGRAMS: list = []
FAULTY: list = []
X = torch.arange(12.0).reshape(3, 4) / 4
IMAGE = (torch.arange(3 * 12 * 16) % 251).reshape(3, 12, 16).to(torch.uint8)


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_it_raises_what_it_raises_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def numpys_functions(tensor):
    t, positive = tensor(X), tensor(X) + 1
    return [
        np.asarray(t).tolist(),
        np.stack([t, t + 1]).tolist(),
        np.vstack([t, positive]).shape,
        np.mean(np.asarray(t), axis=0).tolist(),
        np.sqrt(t).tolist(),
        np.add(t, 1).tolist(),
        np.exp(t.numpy()).sum().item(),
        np.allclose(t, X),
        np.clip(t, 0.5, 1).tolist(),
        np.linalg.norm(t.numpy()).item(),
        np.percentile(t, 50).item(),
        np.histogram(t, 3)[0].tolist(),
        np.argmax(t).item(),
        np.isnan(t).any().item(),
        np.array_equal(t, t),
        np.unique(t).tolist(),
        np.transpose(t).tolist(),
        np.interp(np.asarray([0.5, 1.5]), [0, 1, 2], t[0, :3]).tolist(),
        np.ndarray.tolist(np.array([t, t])),
        np.array(list(t[0])).tolist(),
        torch.from_numpy(np.asarray(t)).add(1),
        torch.as_tensor(np.asarray(t) * 2),
    ]


@faulty
def numpy_refuses_what_requires_grad(tensor):
    return np.stack([tensor(X).requires_grad_(), tensor(X)])


@program
def bfloat16_is_nothing_to_numpy(tensor):
    with pytest.raises(TypeError, match="BFloat16"):
        tensor(X).bfloat16().numpy()
    return tensor(X).bfloat16().float().numpy().tolist()


@program
def scipy_and_skimage(tensor):
    t = tensor(X)
    return [
        scipy.ndimage.gaussian_filter(t, 1).tolist(),
        scipy.ndimage.label(t > 1)[1],
        scipy.ndimage.zoom(t, 2, order=1).shape,
        scipy.signal.convolve2d(t, torch.ones(2, 2)).tolist(),
        skimage.filters.threshold_otsu(t.numpy()).item(),
        skimage.exposure.rescale_intensity(t.numpy()).tolist(),
        skimage.measure.label((t > 1).numpy()).tolist(),
    ]


@program
def plots(tensor):
    figure, (left, right) = pyplot.subplots(1, 2)
    [line] = left.plot(tensor(X)[0], tensor(X)[1])
    shown = right.imshow(tensor(X))
    left.hist(tensor(X).flatten(), bins=3)
    left.scatter(tensor(X)[0], tensor(X)[2], c=tensor(X)[1])
    figure.canvas.draw()
    pyplot.close(figure)
    return line.get_xdata().tolist(), line.get_ydata().tolist(), shown.get_array().tolist()


@program
def images_come_and_go(tensor):
    scaled = tensor(IMAGE.float()) / 255
    image = images.to_pil_image(scaled)
    back = images.pil_to_tensor(image.resize((8, 6), Image.Resampling.BILINEAR))
    made = Image.fromarray((scaled.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    return np.asarray(image).tolist(), back, np.asarray(made).tolist()


@program
def images_are_transformed(tensor):
    torch.manual_seed(0)
    pipeline = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(1.0),
            transforms.CenterCrop(8),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    mirrored = transforms.Compose(pipeline.transforms[:2])(images.to_pil_image(tensor(IMAGE)))
    return pipeline(tensor(IMAGE)), np.asarray(mirrored).tolist()
