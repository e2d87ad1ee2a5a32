"""Layers and losses whose gradients have entries of their own: a step is made on the device alone, as on CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
ROWS, IMAGES, VOLUMES = torch.randn(4, 9), torch.randn(2, 3, 8, 9), torch.randn(2, 3, 4, 6, 5)


def weight_normed(x):
    torch.manual_seed(1)
    return torch.nn.utils.parametrizations.weight_norm(nn.Linear(9, 5))(x)


STEPS = {
    "silu": (F.silu, ROWS),
    "mish": (F.mish, ROWS),
    "reflection_pad1d": (lambda x: F.pad(x, (3, 1), "reflect"), ROWS),
    "reflection_pad2d": (lambda x: F.pad(x, (3, 1, 2, 2), "reflect"), IMAGES),
    "reflection_pad3d": (lambda x: F.pad(x, (1, 2, 1, 1, 2, 0), "reflect"), VOLUMES),
    "replication_pad1d": (lambda x: F.pad(x, (3, 1), "replicate"), ROWS),
    "replication_pad2d": (lambda x: F.pad(x, (3, 1, 2, 2), "replicate"), IMAGES),
    "replication_pad3d": (lambda x: F.pad(x, (1, 2, 1, 1, 2, 0), "replicate"), VOLUMES),
    "avg_pool3d": (lambda x: F.avg_pool3d(x, 2, 1, 1, count_include_pad=False), VOLUMES),
    "adaptive_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, (3, 2, 4)), VOLUMES),
    "global_avg_pool3d": (lambda x: F.adaptive_avg_pool3d(x, 1), VOLUMES),
    "antialiased bilinear": (lambda x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True), IMAGES),
    "antialiased bicubic": (lambda x: F.interpolate(x, (5, 12), mode="bicubic", antialias=True), IMAGES),
    "cross entropy of logits": (
        lambda x: F.binary_cross_entropy_with_logits(x, torch.full((4, 9), 0.3), pos_weight=torch.linspace(1, 3, 9)),
        ROWS,
    ),
    "weight norm": (weight_normed, ROWS),
    "places that indices name": (
        lambda x: torch.ops.aten._unsafe_index_put(x, [None, torch.tensor([2, 0, 2])], torch.ones(4, 3), True),
        ROWS,
    ),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_runs_on_the_device_as_on_cpu(step, follows_cpu, device):
    function, x = STEPS[step]

    def program(tensor):
        given = tensor(x).requires_grad_()
        made = function(given)
        made.sin().sum().backward()
        return made, given.grad

    follows_cpu(program)
    with device as session:
        program(session.to_device)
    assert session.report().totals.host_float == 0, session.report().ops


def test_a_probability_out_of_bounds_raises_as_on_cpu(same_as_cpu):
    same_as_cpu(
        lambda tensor: F.binary_cross_entropy(tensor(torch.full((4,), 1.5)), tensor(torch.ones(4))), raises=True
    )


def test_the_gradient_of_probabilities(follows_cpu):
    def program(tensor):
        given = tensor(ROWS.sigmoid()).requires_grad_()
        F.binary_cross_entropy(
            given, tensor(torch.full((4, 9), 0.3)), weight=tensor(torch.linspace(1, 3, 9))
        ).backward()
        return given.grad

    follows_cpu(program)
