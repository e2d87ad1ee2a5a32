"""The models of the sweep: each gives a function that runs it, and gives a list of plain tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

Run = Callable[[Any], list[torch.Tensor]]  # is given the session, or None on CPU
MODELS: dict[str, Callable[[], Run]] = {}
LAST_STEPS = 3


def model(make: Callable[[], Run]) -> Callable[[], Run]:
    MODELS[make.__name__.replace("_", " ")] = make
    return make


def _plain(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [torch.tensor(tensor.detach().tolist(), dtype=tensor.dtype) for tensor in tensors]


@model
def a_perceptron_in_training() -> Run:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4))
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-2)
    x, y = torch.randn(8, 12), torch.randint(4, (8,))

    def run(_: Any) -> list[torch.Tensor]:
        loss = F.cross_entropy(layers(x), y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            return _plain(loss, layers(x), *layers.parameters())

    return run


@model
def a_recorded_step() -> Run:
    torch.manual_seed(1)
    first, second = nn.Linear(16, 32), nn.Linear(32, 16)
    inputs = [torch.randn(4, 16) for _ in range(5)]

    def step(x: torch.Tensor) -> torch.Tensor:
        return second(F.silu(first(x))).softmax(-1) + x

    def run(session: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            called = step if session is None else session.record(step)
            return _plain(*[called(x) for x in inputs])

    return run


@model
def a_convolutional_network() -> Run:
    torch.manual_seed(2)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    ).eval()
    x = torch.randn(2, 3, 16, 16)

    def run(_: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            return _plain(layers(x), layers(x.flip(-1)))

    return run


class _Attention(nn.Module):
    """One layer with a cache of keys and values that is written in place, and positions that are turned."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, at: int) -> torch.Tensor:
        def heads(t: torch.Tensor) -> torch.Tensor:
            return t.view(1, -1, 2, 8).transpose(1, 2)

        length = x.shape[1]
        keys[:, :, at : at + length] = heads(self.key(x))
        values[:, :, at : at + length] = heads(self.value(x))
        mask = torch.arange(keys.shape[2]) <= torch.arange(at, at + length)[:, None]
        made = F.scaled_dot_product_attention(heads(self.query(x)), keys, values, attn_mask=mask)
        return self.out(made.transpose(1, 2).reshape(1, length, 16)).add_(x)


@model
def attention_with_a_cache() -> Run:
    torch.manual_seed(3)
    layer, prompt, rest = _Attention(), torch.randn(1, 4, 16), torch.randn(1, LAST_STEPS, 16)

    def run(session: Any) -> list[torch.Tensor]:
        put = (lambda t: t) if session is None else session.to_device
        with torch.no_grad():
            keys, values = put(torch.zeros(1, 2, 8, 8)), put(torch.zeros(1, 2, 8, 8))
            made = [layer(prompt, keys, values, 0)]
            for step in range(LAST_STEPS):
                made.append(layer(rest[:, step : step + 1], keys, values, 4 + step))
            return _plain(torch.cat(made, 1), keys, values)

    return run


@model
def host_fallbacks() -> Run:
    torch.manual_seed(4)
    x, table = torch.randn(6, 8), nn.Embedding(10, 8)

    def run(session: Any) -> list[torch.Tensor]:
        put = (lambda t: t) if session is None else session.to_device
        with torch.no_grad():
            a = put(x).mul(2).exp()
            order = a.sum(1).argsort()
            inverse = torch.linalg.inv(a @ a.t() + 6 * torch.eye(6))
            rows = table(order % 10).double().cumsum(0).float()
            picked = a[a > 1].sum()
            a[1:3].neg_()
            b = torch.zeros(6, 8)
            b[2] = 7
            return _plain(inverse @ a, rows * picked, a.t()[1:], a + b, torch.unique(order))

    return run
