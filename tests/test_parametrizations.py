"""Averaged and parametrized models train as on CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import swa_utils

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
TARGET = torch.tensor([0, 1, 2, 2, 1, 0])


def train(model, x, after=lambda: None):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), TARGET)
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.detach())
    return losses


def seeded(make):
    torch.manual_seed(0)
    return make()


AVERAGES = {
    "mean": {},
    "moving": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9), "use_buffers": True},
    "moving-one-by-one": {"avg_fn": swa_utils.get_ema_avg_fn(0.5)},
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_of_models(name, follows_cpu):
    def program(tensor):
        model = seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
        average = swa_utils.AveragedModel(model, **AVERAGES[name])
        losses = train(model, tensor(X), lambda: average.update_parameters(model))
        before = average.eval()(tensor(X))
        swa_utils.update_bn([tensor(X), tensor(X)], average)
        return losses, before, average(tensor(X)), dict(average.state_dict())

    follows_cpu(program)


def test_a_learning_rate_for_averages(follows_cpu):
    def program(tensor):
        model = seeded(lambda: nn.Linear(4, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        rates, schedule = [], swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
        for _ in range(3):
            nn.functional.cross_entropy(model(tensor(X)), TARGET).backward()
            optimizer.step()
            schedule.step()
            rates += schedule.get_last_lr()
        return rates, model.weight

    follows_cpu(program)


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).transpose(-1, -2)


PARAMETRIZATIONS = {
    "weight-norm": parametrizations.weight_norm,
    "weight-norm-of-columns": lambda module: parametrizations.weight_norm(module, dim=1),
    "spectral-norm": lambda module: parametrizations.spectral_norm(module, n_power_iterations=2),
    "orthogonal": parametrizations.orthogonal,
    "own": lambda module: parametrize.register_parametrization(module, "weight", Symmetric()),
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_parametrizations(name, follows_cpu):
    def program(tensor):
        first = seeded(lambda: PARAMETRIZATIONS[name](nn.Linear(4, 4)))
        model = nn.Sequential(first, nn.Tanh(), nn.Linear(4, 3))
        losses = train(model, tensor(X))
        with parametrize.cached():
            twice = model(tensor(X)) + model(tensor(X))
        parametrize.remove_parametrizations(first, "weight")
        return losses, twice, model(tensor(X)), first.weight

    follows_cpu(program)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm], ids=["weight-norm", "spectral-norm"])
def test_norms_made_by_hooks(norm, follows_cpu):
    def program(tensor):
        model = seeded(lambda: nn.Sequential(norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3)))
        return train(model, tensor(X)), model.eval()(tensor(X)), list(model.parameters())

    follows_cpu(program)
