"""Weights of which only something else is made do not stay on the device beside that."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

import ttreg
from ttreg.costs.calls import is_tensor
from ttreg.memory.held import of_values

LAYERS = {
    "convolution": (nn.Conv2d(64, 64, 3, padding=1), (1, 64, 8, 8)),
    "convolution of single places": (nn.Conv2d(64, 96, 1), (1, 64, 8, 8)),
    "grouped": (nn.Conv2d(64, 64, 3, groups=4), (1, 64, 8, 8)),
    "sequence": (nn.Conv1d(64, 32, 3), (2, 64, 20)),
    "transposed": (nn.ConvTranspose2d(64, 32, 2, stride=2), (1, 64, 4, 4)),
    "transposed sequence": (nn.ConvTranspose1d(64, 32, 3), (1, 64, 12)),
    "embedding": (nn.Embedding(640, 64), (3, 5)),
}
layers = pytest.mark.parametrize("name", LAYERS)


def made(name):
    """A new layer, and an input for it."""
    layer, shape = LAYERS[name]
    return copy.deepcopy(layer), torch.randint(640, shape) if name == "embedding" else torch.rand(shape)


@layers
def test_a_weight_takes_no_memory_beside_what_is_made_of_it(name):
    layer, x = made(name)
    with ttreg.device_mode(device="mock", min_upload_numel=0) as session, torch.no_grad():
        x = session.to_device(x)
        layer(x), layer(x)
        kept, moved = of_values(session.uploads.kept()), session.report().transfers
    matrix = getattr(layer, "groups", 1) * sum(p.nbytes for p in layer.parameters())  # ttnn fills up other groups
    assert kept < 1.6 * matrix
    assert moved.weight_uploads == len(list(layer.parameters()))


@layers
def test_a_changed_weight_is_brought_again(name, device):
    layer, x = made(name)
    with device as session, torch.no_grad():
        for change in (lambda w: None, lambda w: w.mul_(2), lambda w: w.data.add_(1), lambda w: w.fill_(0.5)):
            change(layer.weight)
            with ttreg.modes.without_modes():
                expected = layer(x)
            for _ in range(2):
                torch.testing.assert_close(torch.Tensor(layer(x).tolist()), expected, rtol=1e-3, atol=1e-3)
    assert session.report().transfers.weight_uploads == 3 + len(list(layer.parameters()))


@layers
def test_a_freed_weight_leaves_nothing(name, device):
    layer, x = made(name)
    with device as session, torch.no_grad():
        layer(session.to_device(x))
        kept = of_values(session.uploads.kept())
        del layer
        gc.collect()
        assert of_values(session.uploads.kept()) < kept / 20


def test_a_kernel_is_brought_again_for_another_size_of_images(device):
    layer, _ = made("convolution")
    images = [torch.rand(1, 64, size, size) for size in (8, 12, 8)]
    with device, torch.no_grad():
        for image in images:
            with ttreg.modes.without_modes():
                expected = layer(image)
            torch.testing.assert_close(torch.Tensor(layer(image).tolist()), expected, rtol=1e-3, atol=1e-3)


def test_a_kernel_serves_the_layer_and_its_gradients():
    layer, x = made("convolution")
    x.requires_grad_()
    plain = copy.deepcopy(layer)
    plain(x).sum().backward()
    expected, x.grad = x.grad, None
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        for _ in range(2):
            x.grad = None
            layer(x).sum().backward()
        torch.testing.assert_close(torch.Tensor(x.grad.tolist()), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            torch.Tensor(layer.weight.grad.tolist()), 2 * plain.weight.grad, rtol=1e-3, atol=1e-3
        )
    rows = {row.op for row in session.report().ops if row.placement == "device"}
    assert {"aten.convolution.default", "aten.convolution_backward.default"} <= rows


def test_a_table_is_shared_by_a_lookup_and_a_product(device):
    table, x = nn.Embedding(640, 64), torch.randint(640, (2, 5))
    output = nn.Linear(64, 640, bias=False)
    output.weight = table.weight
    expected = output(table(x)).detach()
    with device, torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(torch.Tensor(output(table(x)).tolist()), expected, rtol=1e-3, atol=1e-3)


@layers
def test_a_recorded_function_brings_a_weight_on_demand_until_it_changes(name, device):
    layer, x = made(name)
    with device as session, torch.no_grad():
        step = session.record(lambda x: layer(x) * 2)
        for number in range(2):
            with ttreg.modes.without_modes():
                expected = layer(x) * 2
            for _ in range(4):
                torch.testing.assert_close(torch.Tensor(step(x).tolist()), expected, rtol=1e-3, atol=1e-3)
            if not number and name != "embedding":
                shapes = [tuple(value.shape) for value in session.uploads.kept() if is_tensor(value)]
                assert tuple(layer.weight.shape) not in shapes
            layer.weight.mul_(2)
        assert step.counts.replays == 4, vars(step.counts)
