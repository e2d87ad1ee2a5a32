"""Kernels of 1 x 1, and what optimizers keep for them, take little more of the device than their own size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ttreg

OPTIMIZERS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.01),
    "Adam": lambda parameters: torch.optim.Adam(parameters, 1e-3, eps=1e-2),  # else rounding decides some signs
    "foreach": lambda parameters: torch.optim.AdamW(parameters, 1e-3, eps=1e-2, foreach=True),
}


def trained(make, session=None, recorded=False):
    torch.manual_seed(0)
    layers = nn.Conv2d(8, 160, 1), nn.ReLU(), nn.Conv2d(160, 96, 1, bias=False), nn.BatchNorm2d(96), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(96 * 4, 5))
    optimizer = make(model.parameters())

    def step(x):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), torch.arange(3))
        loss.backward()
        optimizer.step()
        return loss.detach()

    call = session.record(step) if recorded else step
    losses = [float(call(torch.randn(3, 8, 2, 2))) for _ in range(4)]
    return losses, [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("name", "recorded"), [("momentum", False), ("momentum", True), ("Adam", True), ("foreach", False)]
)
def test_training_ends_as_on_cpu(name, recorded):
    optimizer = OPTIMIZERS[name]
    expected = trained(optimizer)
    with ttreg.device_mode(device="emulated", float32="exact", min_upload_numel=0) as session:
        found = trained(optimizer, session, recorded)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


X = torch.randn(512, 64, 1, 1)  # 128 KiB, and 128 MiB in tiles
MUCH = 2**24


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a * 2 + b,
        lambda a, b: torch.where(a > 0, a, b),
        lambda a, b: a.mul_(0.9).add_(b, alpha=0.1),
        lambda a, b: a.addcmul_(b, b, value=0.5).abs().sqrt(),
        lambda a, b: torch.lerp(a, b, 0.3) / (b.abs() + 1),
        lambda a, b: torch.add(a, b, out=torch.empty(512, 64, 1, 1)),
        lambda a, b: (a * torch.tensor(3.0)).relu_(),
        lambda a, b: a.view(512, 64).mul_(2).view_as(a) + b,
        lambda a, b: a[:256].mul_(2),
        lambda a, b: (a + b).to(torch.bfloat16) * 2,
        lambda a, b: (a > b) & (a < 1),
    ],
)
@pytest.mark.parametrize("place", ["device", "both"])
def test_elementwise_calls_give_what_they_give_on_cpu(function, place):
    a, b = X.clone(), X.flip(0).clone()
    expected = function(a.clone(), b.clone())
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session, torch.no_grad():
        a = session.to_device(a.view(512, 64)).view_as(a) if place in ("device", "both") else a
        b = session.to_device(b.view(512, 64)).view_as(b) if place == "device" else b
        found = function(a, b)
        assert (found.shape, found.stride(), found.dtype) == (expected.shape, expected.stride(), expected.dtype)
        torch.testing.assert_close(torch.tensor(found.tolist(), dtype=found.dtype), expected)


def test_elements_in_another_order_are_taken_without_their_dimensions_of_1(device):
    """As `einsum` takes them for the positions of attention in SAM and MViT: 2 GB in tiles, 2 MB as they are."""
    x = torch.randn(4, 64, 64, 32)
    for turn in (
        lambda x: x.permute(1, 0, 2, 3)[..., None, None].contiguous(),
        lambda x: x.permute(1, 0, 2, 3)[:, 1:, :, :, None].clone(memory_format=torch.contiguous_format),
        lambda x: x.permute(2, 1, 0, 3)[..., None, None].clone() * 2,
        lambda x: torch.einsum("bhwc,hkc->bhwk", x, x[0]),
    ):
        expected = turn(x)
        with device as session:
            found = turn(session.to_device(x))
            assert session.report().totals.host == 0
        assert found.stride() == expected.stride()
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_the_device_holds_matrices():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session, torch.no_grad():
        kept = [X * 2 + 1]
        for _ in range(3):
            kept.append((kept[-1] * 0.5).relu() + X)
        held = session.held()
        assert session.report().totals.host == 0
    assert held < MUCH


def test_ttnn_takes_them():
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session, torch.no_grad():
        exp, grad = session.to_device(X.clone()), X * 0.5
        exp.mul_(0.9).add_(grad, alpha=0.1)
        found = (grad / (exp.sqrt() + 1e-8)).tolist()
    assert len(found) == 512
