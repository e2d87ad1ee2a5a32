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


class Counted(torch.nn.Module):
    """A layer that counts its calls in a buffer, which it uses before, as a cache of a decoder does."""

    def __init__(self, trainable):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, dtype=torch.float32, device="cpu"), trainable)
        self.register_buffer("calls", torch.tensor(0, dtype=torch.int64, device="cpu"))

    def forward(self, x):
        result = x * self.weight + (torch.arange(4, dtype=torch.int64, device="cpu") + self.calls)
        self.calls.add_(1)
        return result


def test_weights_stay_constants_beside_a_buffer_that_is_written(session):
    def calls_of_a_replay(trainable):
        with modes.without_modes():
            step = session.record(Counted(trainable))
        with torch.no_grad():
            for _ in range(5):
                step(X)
        assert step.counts.replays == 2
        return step.counts.ttnn_calls

    assert calls_of_a_replay(True) == calls_of_a_replay(False), "what is made of the weights is not made again"


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
