"""Gradients and training steps of small models are CPU's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
IMAGES = (torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) % 13).float() / 8 - 0.5
MODELS = {
    "linear": (lambda: nn.Linear(4, 3), X),
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), X),
    "conv": (lambda: nn.Conv2d(3, 4, 3, padding=1), IMAGES),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
        ),
        IMAGES,
    ),
    "normalised": (lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)), X),
    "attention": (lambda: Attention(), X.view(1, 6, 4)),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)),
        torch.tensor([[1, 2, 2]]),
    ),
}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def seeded(make):
    torch.manual_seed(0)
    return make()


def gradients(model, x):
    loss = model(x).square().mean()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


def assert_close(results, expected):
    plain = [torch.tensor(r.tolist()) for r in results]
    torch.testing.assert_close(plain, [e.detach() for e in expected], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_plain_model_are_those_of_cpu(name, device):
    make, x = MODELS[name]
    expected = gradients(seeded(make), x)
    with device:
        results = gradients(seeded(make), x)
    assert_close(results, expected)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_gradients_reach_inputs_on_the_device(name, device):
    make, plain = MODELS[name]
    model, x = seeded(make), plain.clone().requires_grad_()
    model(x).square().sum().backward()
    with device as session:
        y = session.to_device(plain).requires_grad_()
        model(y).square().sum().backward()
    assert_close([y.grad], [x.grad])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.05),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, foreach=True),
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    ],
    ids=["sgd", "sgd-momentum-foreach", "adam", "adamw-foreach"],
)
def test_five_training_steps_follow_cpu(name, optimizer, device):
    make, x = MODELS[name]

    def train(model):
        steps = optimizer(model.parameters())
        losses = []
        for _ in range(5):
            steps.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            steps.step()
            losses.append(loss.item())
        # Not the parameters: where a gradient is zero but for rounding, Adam makes steps of that.
        return [torch.tensor(losses), model(x)]

    expected = train(seeded(make))
    with device:
        results = train(seeded(make))
    assert_close(results, expected)


def test_training_goes_on_after_the_block_and_in_the_next(device):
    make, x = MODELS["mlp"]

    def step(model):
        model.zero_grad()
        model(x).square().mean().backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    plain, model = seeded(make), seeded(make)
    for _ in range(4):
        step(plain)
    with device:
        step(model)
    step(model)
    with device:
        step(model)
        model = copy.deepcopy(model)
        step(model)
    assert_close(model.parameters(), plain.parameters())
