"""Writes to a tensor by an argument that shows the same memory, as Python makes them at the end of `x[:, 1:] += y`."""

from __future__ import annotations

import pytest
import torch


def added(x, y):
    x[:, 1:] += y[:, 1:]


def scaled(x, y):
    x[0] *= 2


def every_second(x, y):
    x[..., ::2] -= y[..., ::2]


def transposed(x, y):
    x.T[1:] += 1


def copied_over_itself(x, y):
    x[1:] = x[1:]
    x.view(-1).copy_(x.view(-1))


def turned_round(x, y):
    x[:2] = x[:2].flip(0)


def through_a_view(x, y):
    part = x[1:, 1:]
    part += y[1:, 1:]
    x[1:, 1:] = part


PROGRAMS = (added, scaled, every_second, transposed, copied_over_itself, turned_round, through_a_view)


def inputs():
    torch.manual_seed(0)
    return torch.rand(4, 6), torch.rand(4, 6)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_write_to_what_it_is_made_of_stays_on_the_device(program, device):
    (x, y), (expected, _) = inputs(), inputs()
    program(expected, y)
    with device as session:
        x, y = session.to_device(x), session.to_device(y)
        program(x, y)
        totals = session.report().totals
        assert torch.equal(session.read(x), expected)
    assert totals.host == 0


def test_a_copy_over_itself_asks_nothing_of_the_device(device):
    with device as session:
        x = session.to_device(inputs()[0])
        before = sum(session.report().device_calls.values())
        x[1:] = x[1:]
        assert sum(session.report().device_calls.values()) == before


def test_what_pytorch_refuses_is_refused(device):
    x, _ = inputs()
    with pytest.raises(RuntimeError) as expected:
        x[1:].copy_(x[:-1])
    with device as session:
        x = session.to_device(x)
        with pytest.raises(RuntimeError) as raised:
            x[1:].copy_(x[:-1])
    assert str(raised.value) == str(expected.value)
