"""Max pools and their ways back: errors as on CPU, and gradients that stay on the device."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

import ttreg


def device_mode():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


@pytest.mark.parametrize("place", [-1, 36])
def test_an_index_out_of_range_raises_what_the_cpu_raises(place):
    values, indices = torch.rand(1, 2, 3, 3), torch.full((1, 2, 3, 3), place)
    with pytest.raises(RuntimeError) as on_cpu:
        functional.max_unpool2d(values, indices, 2)
    with device_mode(), pytest.raises(RuntimeError) as on_device:
        functional.max_unpool2d(values, indices, 2)
    assert str(on_device.value) == str(on_cpu.value)


@pytest.mark.parametrize(
    ("pool", "shape"), [(functional.max_pool2d, (2, 3, 9, 8)), (functional.max_pool3d, (2, 4, 9, 8))]
)
def test_the_gradient_of_overlapping_windows_is_made_on_the_device(pool, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).round().requires_grad_()
    (expected,) = torch.autograd.grad(pool(x, 3, 2, 1).square().sum(), x)
    with device_mode() as session:
        (given,) = torch.autograd.grad(pool(x, 3, 2, 1).square().sum(), x)
    assert torch.equal(given, expected)
    assert session.report().totals.host == 0


def test_a_tensor_like_one_of_the_host_needs_no_upload():
    x = torch.rand(64, 64)
    with device_mode() as session:
        ones = torch.ones_like(x)
        assert session.report().transfers.uploads == 0
    assert torch.equal(ones, torch.ones(64, 64))
