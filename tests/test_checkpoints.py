"""Checkpoints recompute what they recompute on CPU."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
PROGRAMS: list = []
FAULTY: list = []


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_checkpoints_do_what_they_do_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_checkpoints_raise_what_they_raise_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_recompute_what_cpu_recomputes(reentrant, same_as_cpu):
    def program(tensor):
        runs = []

        def block(x, scale):
            runs.append(torch.is_grad_enabled())
            return (x * x * scale).relu(), x + 1

        t, scale = tensor(X).requires_grad_(), tensor(X).requires_grad_()
        first, second = checkpoint(block, t * 2, scale, use_reentrant=reentrant)
        (first * second).sum().backward()
        return runs, t.grad, scale.grad

    same_as_cpu(program)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_draw_the_same_numbers_again(reentrant, same_as_cpu):
    def program(tensor):
        torch.manual_seed(3)
        t = tensor(X).requires_grad_()
        y = checkpoint(lambda x: F.dropout(x * x, 0.5), t, use_reentrant=reentrant)
        y.sum().backward()
        return y, t.grad, torch.rand(3)

    same_as_cpu(program)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # the inner ones, in the outer's forward
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_nest(reentrant, same_as_cpu):
    def program(tensor):
        def block(x, depth):
            if depth == 0:
                return (x * x).relu()
            return checkpoint(block, x + t, depth - 1, use_reentrant=reentrant) * 2

        t = tensor(X).requires_grad_()
        block(t * 1, 3).sum().backward()
        return t.grad

    same_as_cpu(program)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_a_sequence(reentrant, same_as_cpu):
    def program(tensor):
        model = nn.Sequential(nn.ReLU(), nn.Hardtanh(), nn.LeakyReLU(0.5), nn.ReLU())
        t = tensor(X).requires_grad_()
        checkpoint_sequential(model, 2, t, use_reentrant=reentrant).sum().backward()
        return t.grad

    same_as_cpu(program)


@program
def a_checkpoint_with_keywords_stops_early(tensor):
    ran = []

    def block(x, *, factor):
        y = x * factor * x
        ran.append("multiplied")
        z = y + 1
        ran.append("added")
        return z

    t = tensor(X).requires_grad_()
    y = checkpoint(block, t, factor=3, use_reentrant=False, preserve_rng_state=False)
    y.sum().backward()
    return y, t.grad, ran


@program
def a_checkpoint_keeps_what_its_policy_says(tensor):
    def policy(ctx, op, *args, **kwargs):
        keep = op is torch.ops.aten.mm.default
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    t = tensor(X).requires_grad_()
    contexts = functools.partial(create_selective_checkpoint_contexts, policy)
    y = checkpoint(lambda x: (x @ x.t()).relu() * 2, t, use_reentrant=False, context_fn=contexts)
    (y * y).sum().backward()
    return y, t.grad


@program
def gradients_of_gradients_through_a_checkpoint(tensor):
    t = tensor(X).requires_grad_()
    y = checkpoint(lambda x: x * x * x, t, use_reentrant=False).sum()
    (first,) = torch.autograd.grad(y, t, create_graph=True)
    first.sum().backward()
    return first, t.grad


@faulty
def a_checkpoint_that_recomputes_something_else(tensor):
    sizes = iter((6, 5))
    t = tensor(X).requires_grad_()
    y = checkpoint(lambda x: x[: next(sizes)].exp(), t, use_reentrant=False)
    y.sum().backward()


@faulty
def a_reentrant_checkpoint_in_a_partial_backward(tensor):
    t = tensor(X).requires_grad_()
    torch.autograd.grad(checkpoint(lambda x: x * 2, t, use_reentrant=True).sum(), t)
