"""`F.interpolate` of sequences, images and volumes takes the elements that CPU takes, and weighs them as CPU does."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

import ttreg

NEAREST = ("nearest", "nearest-exact")
WEIGHTED = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}
LARGEST = {1: 100, 2: 70, 3: 9}  # of a dimension, so that outputs are on either side of where CPU's kernels change


def numbered(sizes, channels, in_last=False):
    """A tensor whose elements tell their place, also in bfloat16 sums of two of them."""
    numel = torch.Size(sizes).numel()
    x = torch.arange(float(channels * numel)).reshape(1, channels, *sizes)
    return x.contiguous(memory_format=FORMATS[len(sizes)]) if in_last else x


def resized(rnd, sizes):
    """Keywords that say the size of the output in each of the ways that a program can."""
    kind = rnd.randrange(5)
    if kind == 0:
        return {"size": [max(1, round(size * rnd.uniform(0.3, 2.5))) for size in sizes]}
    if kind == 1:
        return {"scale_factor": rnd.choice([0.5, 1.0, 1.01, 1.3, 1.999, 2.0, 2.01, 3.0])}
    factors = [rnd.choice([rnd.uniform(0.3, 2.5), rnd.uniform(1.0, 1.02), rnd.uniform(2.0, 2.02)]) for _ in sizes]
    keywords = {"scale_factor": [max(factor, 1 / size) for factor, size in zip(factors, sizes, strict=True)]}
    return keywords if kind < 4 else {**keywords, "recompute_scale_factor": True}


def calls(dims, count, in_last=False):
    """Tensors and sizes, the same at each call."""
    rnd = random.Random(dims)
    for number in range(count):
        sizes = [rnd.randint(1, LARGEST[dims]) for _ in range(dims)]
        channels = 5 if in_last else 1 + number % 5
        yield numbered(sizes, channels, in_last), resized(rnd, sizes)


def both(x, **keywords):
    """What the device and CPU give, of one shape and strides."""
    expected = F.interpolate(x, **keywords)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        result = F.interpolate(session.to_device(x), **keywords)
    given = session.read(result)
    assert given.stride() == expected.stride()
    return given, expected


@pytest.mark.parametrize(("dims", "in_last"), [(1, False), (2, False), (2, True), (3, False), (3, True)])
@pytest.mark.parametrize("mode", NEAREST)
def test_the_nearest_elements_are_cpus(mode, dims, in_last):
    for x, keywords in calls(dims, 25, in_last):
        given, expected = both(x, mode=mode, **keywords)
        assert torch.equal(given, expected), (x.shape, keywords)


@pytest.mark.parametrize("factor", [1.3, 2.2, 2.4, 0.7])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_scale_that_rounds_to_the_same_or_the_double_size_counts(dims, factor):
    for size in (3, 4):
        x = numbered([size] * dims, 2)
        given, expected = both(x, scale_factor=factor, mode="nearest")
        assert torch.equal(given, expected)


def test_large_images_go_by_their_scale_and_small_ones_by_their_size():
    for sizes in ((100, 28), (100, 29), (64, 64), (64, 65), (1, 128), (300, 2)):
        x = numbered(sizes, 1)
        given, expected = both(x, scale_factor=(1.009, 1.003), mode="nearest")
        assert torch.equal(given, expected), sizes


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", WEIGHTED)
def test_weighted_elements_are_near_cpus(mode, align_corners):
    dims = WEIGHTED[mode]
    for x, keywords in [*calls(dims, 5), *calls(dims, 3, in_last=dims > 1)]:
        x = x / x.numel()
        given, expected = both(x, mode=mode, align_corners=align_corners, **keywords)
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_antialiased_elements_are_near_cpus(mode):
    for x, keywords in calls(2, 5):
        x = x / x.numel()
        given, expected = both(x, mode=mode, antialias=True, **keywords)
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_means_of_areas_are_near_cpus(dims):
    for x, keywords in calls(dims, 8):
        x = x / x.numel()
        given, expected = both(x, mode="area", **keywords)
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", [*NEAREST, *WEIGHTED, "area"])
def test_gradients_of_interpolated_elements_are_cpus(mode):
    dims = WEIGHTED.get(mode, 3)
    for x, keywords in calls(dims, 3):
        gradients = []
        for place in ("cpu", "device"):
            leaf = (x / x.numel()).requires_grad_()
            with ttreg.device_mode(device="emulated", min_upload_numel=0 if place == "device" else 1 << 40):
                out = F.interpolate(leaf, mode=mode, **keywords)
                (out * out).sum().backward()
            gradients.append(leaf.grad)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "resample",
    [
        lambda x: F.interpolate(x, scale_factor=0.5, mode="linear"),
        lambda x: F.interpolate(x, size=116788, mode="linear"),
        lambda x: F.interpolate(x, size=116788),
        lambda x: F.adaptive_avg_pool1d(x, 10),
        lambda x: F.interpolate(x, size=999, mode="area"),
    ],
)
def test_ten_seconds_of_audio_are_resampled_as_ttnn_takes_it(resample):
    """A matrix for so long a signal takes a hundred gigabytes."""
    x = torch.rand(2, 1, 160_000)
    expected = resample(x)
    with ttreg.device_mode(device="emulated", validate=True, on_fallback="raise") as session:
        result = resample(session.to_device(x))
    torch.testing.assert_close(session.read(result), expected)


@pytest.mark.parametrize(
    "shrink",
    [
        lambda x: F.interpolate(x, size=(30, 100), mode="bilinear"),
        lambda x: F.interpolate(x, size=(9, 7), mode="bicubic", antialias=True),
        lambda x: F.adaptive_avg_pool2d(x, (11, 30)),
    ],
)
def test_an_infinity_stays_where_it_is_read(shrink):
    x = torch.rand(1, 1, 23, 170)
    x[0, 0, 5, 7] = torch.inf
    expected = shrink(x)
    assert set(expected.isfinite().flatten().tolist()) == {True, False}
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        result = shrink(session.to_device(x))
    torch.testing.assert_close(session.read(result), expected, equal_nan=True)
