"""Tensors besides parameters that a recording has uploaded once, and what a program may do to them unseen."""

from __future__ import annotations

import pytest
import torch

from ttreg import modes

X = torch.arange(12, dtype=torch.float32, device="cpu").reshape(3, 4)


class Scaled(torch.nn.Module):
    """A module with a buffer of floats, and one of indices."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.arange(16, dtype=torch.float32, device="cpu").reshape(4, 4))
        self.register_buffer("rows", torch.tensor([2, 0, 1, 2], dtype=torch.int64, device="cpu"))

    def forward(self, x):
        return x[self.rows] * self.scale


def test_what_is_made_of_buffers_is_made_once(session):
    with modes.without_modes():
        net = torch.nn.BatchNorm1d(4, dtype=torch.float32, device="cpu").eval()
    step = session.record(net)
    for _ in range(3):
        step(X)
    before = sum(session.report().device_calls.values())
    net(X)
    assert step.counts.replays == 1
    once = sum(session.report().device_calls.values()) - before
    assert step.counts.ttnn_calls <= once + 2, "besides the calls, a replay takes the argument, and uploads it"


def through_numpy(net, seen):
    net.scale.numpy()[1] = 7


def held_by_numpy(net, seen):
    seen[2] = 5


def of_indices(net, seen):
    net.rows[0] = 1


def turned(net, seen):
    net.scale.t_()


def replaced(net, seen):
    net.scale = torch.full((4, 4), 3.0, dtype=torch.float32, device="cpu")


def of_its_data(net, seen):
    net.scale.data = torch.full((4, 4), 3.0, dtype=torch.float32, device="cpu")


CHANGES = (through_numpy, held_by_numpy, of_indices, turned, replaced, of_its_data)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_buffer_that_changes_between_calls_is_seen(session, change):
    with modes.without_modes():
        net = Scaled()
    seen = net.scale.numpy() if change is held_by_numpy else None
    step = session.record(net)
    for number in range(6):
        if number == 3:
            assert step.counts.replays
            change(net, seen)
        with modes.without_modes():
            expected = X[net.rows] * net.scale
        assert torch.equal(step(X).cpu(), expected), number


def test_attention_takes_the_path_that_it_takes_unrecorded(session):
    """A mode that sees functions would change it."""
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float32, device="cpu").eval()
    x = torch.rand(2, 5, 8, dtype=torch.float32, device="cpu")
    step = session.record(lambda x: layer(x, x, x, need_weights=False)[0])
    step(x)
    ops = {row.op for row in session.report().ops}
    layer(x, x, x, need_weights=False)
    assert {row.op for row in session.report().ops} == ops
