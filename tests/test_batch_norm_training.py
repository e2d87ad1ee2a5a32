"""Batch norms in training: what they give, what they write to their statistics, and their gradients."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

import ttreg

aten = torch.ops.aten

torch.manual_seed(0)
IMAGES = torch.randn(3, 4, 6, 5) * 3 + 2
INPUTS = {1: torch.randn(5, 4), 2: IMAGES, 3: torch.randn(2, 4, 3, 2, 5)}
LAYERS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
OPS = ("native_batch_norm", "native_batch_norm_backward")


def on_host(session):
    """The norms that the host ran."""
    rows = session.report().ops
    return [row.op for row in rows if row.placement == "host" and any(name in row.op for name in OPS)]


def steps(layer, x, tensor, held):
    """Two forward and backward passes, and what they leave behind."""
    if held:
        for name, buffer in layer.named_buffers():
            if buffer.ndim:
                setattr(layer, name, tensor(buffer.clone()))
    given = tensor(x.clone()).requires_grad_()
    for _ in range(2):
        out = layer(given)
        out.sin().sum().backward()
    kept = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    layer.eval()
    versions = [buffer._version for buffer in layer.buffers() if buffer.ndim]
    return out, given.grad, [p.grad for p in layer.parameters()], kept, versions, layer(tensor(x))


@pytest.mark.parametrize("held", [False, True], ids=["plain buffers", "buffers on the device"])
@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}], ids=str
)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layers_train_on_the_device(dims, settings, held, device, follows_cpu):
    def program(tensor):
        return steps(LAYERS[dims](4, **settings), INPUTS[dims], tensor, held)

    follows_cpu(program)
    with device as session:
        program(session.to_device)
    assert on_host(session) == []
    assert session.report().totals.host_float == 0


def test_images_that_convolutions_give_are_normalized_as_they_are_held(watched):
    """Forward and backward, without turning them to PyTorch's order and back."""
    norm, convolution = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
    counts = Counter()
    watched(lambda name, *_: counts.update([name]))
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        made = convolution(IMAGES).detach().requires_grad_()
        counts.clear()
        normal = norm(made)
        torch.autograd.grad(normal, made, normal.detach())
    assert counts["addcmul"] == 3
    assert not {"permute", "transpose"} & set(counts)


def test_an_input_without_a_gradient(follows_cpu, device):
    def program(tensor):
        norm = nn.BatchNorm2d(4)
        norm(tensor(IMAGES)).sin().sum().backward()
        return norm.weight.grad, norm.bias.grad

    follows_cpu(program)
    with device as session:
        program(session.to_device)
    assert on_host(session) == []


def test_frozen_statistics_pass_gradients_on(follows_cpu, device):
    def program(tensor):
        norm = nn.BatchNorm2d(4).eval()
        norm.running_mean.add_(0.5)
        x = tensor(IMAGES).requires_grad_()
        norm(x).square().sum().backward()
        return x.grad, norm.weight.grad, norm.bias.grad

    follows_cpu(program)
    with device as session:
        program(session.to_device)
    assert on_host(session) == []


@pytest.mark.parametrize("held", [False, True])
def test_statistics_that_are_parts_of_one_storage(follows_cpu, held):
    def program(tensor):
        both = (tensor if held else torch.clone)(torch.stack([torch.zeros(4), torch.ones(4)]))
        before = both[1]
        made = torch.nn.functional.batch_norm(tensor(IMAGES), both[0], both[1], training=True, momentum=0.3)
        return made, both, before

    follows_cpu(program)


def written_by_legit(x, mean, variance):
    return aten._native_batch_norm_legit(x, None, None, mean, variance, True, 0.1, 1e-5)


def written_by_native(x, mean, variance):
    return aten.native_batch_norm(x, None, None, mean, variance, True, 0.1, 1e-5)


def written_with_update(x, mean, variance):
    return aten._batch_norm_with_update(x, None, None, mean, variance, 0.1, 1e-5)


@pytest.mark.parametrize("op", [written_by_legit, written_by_native, written_with_update], ids=lambda op: op.__name__)
@pytest.mark.parametrize("grads", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_ops_that_update_statistics(op, grads, follows_cpu):
    def program(tensor):
        with grads():
            mean, variance = tensor(torch.zeros(4)), tensor(torch.ones(4))
            made = op(tensor(IMAGES), mean, variance)
            return *made, mean, variance, mean.clone() + 1

    follows_cpu(program)


def test_statistics_that_the_program_reads_by_numpy(device):
    norm, expected = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
    seen = norm.running_mean.numpy()
    with device as session:
        norm(session.to_device(IMAGES))
        first = seen.copy()
        norm(session.to_device(IMAGES))
    expected(IMAGES)
    torch.testing.assert_close(torch.from_numpy(first), expected.running_mean)
    expected(IMAGES)
    torch.testing.assert_close(torch.from_numpy(seen), expected.running_mean)


def test_in_evaluation_the_tensors_for_results_are_filled(device):
    x, (weight, bias, mean, variance) = torch.randn(3, 4, 5), torch.rand(4, 4) + 0.5
    op = torch.ops.aten._native_batch_norm_legit
    expected = op.default(x, weight, bias, mean, variance, False, 0.1, 1e-5)[0]
    with device as session:
        out = session.to_device(torch.zeros(3, 4, 5))
        kept = [session.to_device(tensor) for tensor in (mean, variance)]
        none = {"save_mean": torch.empty(0), "save_invstd": torch.empty(0)}
        op.out(x, weight, bias, *kept, False, 0.1, 1e-5, out=out, **none)
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(kept[0].cpu(), mean)
