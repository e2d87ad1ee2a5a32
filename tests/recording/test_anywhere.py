"""Functions and modules that are recorded in whichever block they are called in."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

import ttreg

X = torch.arange(-8.0, 8).reshape(4, 4) / 4


@ttreg.recorded
def doubled(x):
    """Twice a tensor."""
    return x * 2


class Scaled(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([factor]))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x, more=0):
        self.calls.add_(1)
        return x * self.factor + more


def replays(session):
    return sum(row.replays for row in session.report().recorded)


def test_a_decorated_function_is_recorded_in_each_session(device):
    assert doubled(X).tolist() == (X * 2).tolist()
    assert doubled.__doc__ == "Twice a tensor."
    for _ in range(2):
        with device as session:
            for number in range(4):
                assert doubled(X + number).tolist() == ((X + number) * 2).tolist()
            assert replays(session) == 2
    assert type(doubled(X)) is torch.Tensor


def test_a_decorated_method_knows_its_object(device):
    class Holder:
        def __init__(self, factor):
            self.factor = factor

        @ttreg.recorded(check_every=2)
        def times(self, x):
            return x * self.factor

    two, three = Holder(2.0), Holder(3.0)
    with device as session:
        for _ in range(4):
            assert two.times(X).tolist() == (X * 2).tolist()
            assert three.times(X).tolist() == (X * 3).tolist()
        two.factor = 5.0
        assert two.times(X).tolist() == (X * 5).tolist()
        assert replays(session) == 2  # of each object's four calls, one is recorded, and every second one compared


def test_a_recorded_module_stays_what_it_was(device):
    model = Scaled()
    names, kept = list(model.state_dict()), dict(model.named_parameters())
    model.register_forward_hook(lambda module, args, result: -result)
    assert ttreg.record(model) is model
    assert list(model.state_dict()) == names
    assert dict(model.named_parameters()) == kept
    with torch.no_grad(), device as session:
        for number in range(5):
            assert model(X, more=1).tolist() == (-X * 2 - 1).tolist()
            assert model.calls.tolist() == [number + 1]
        assert replays(session) >= 2
    assert model(X).tolist() == (-X * 2).tolist()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_recorded_module_is_its_own(again, device):
    model = nn.Sequential(ttreg.record(Scaled(2.0)))
    other = again(model)
    with torch.no_grad():
        other[0].factor.fill_(3.0)
        with device as session:
            for _ in range(4):
                assert model(X).tolist() == (X * 2).tolist()
                assert other(X).tolist() == (X * 3).tolist()
            assert replays(session) >= 4
    assert other[0].calls.item() == 4


@pytest.mark.parametrize("wrong", [3, Scaled, Scaled()])
def test_what_cannot_be_recorded_is_an_error(wrong):
    if isinstance(wrong, nn.Module):
        ttreg.record(wrong)
        with pytest.raises(TypeError, match="has a forward of its own"):
            ttreg.record(wrong)
    else:
        with pytest.raises(TypeError, match="decorates functions"):
            ttreg.recorded(wrong)
        with pytest.raises(TypeError, match="takes a module"):
            ttreg.record(wrong)
        with ttreg.device_mode(device="emulated") as session, pytest.raises(TypeError, match="a function or a module"):
            session.record(wrong)
