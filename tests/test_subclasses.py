"""Subclasses made of results, parameters of other types, and parameters without a shape yet."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

X = torch.arange(16.0).reshape(4, 4) / 8


class Tagged(torch.Tensor):
    pass


class Frozen(nn.Parameter):
    """A parameter that knows what it is for."""

    def __new__(cls, data, purpose=""):
        made = super().__new__(cls, data, requires_grad=True)
        made.purpose = purpose
        return made


PROGRAMS: list = []


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@program
def made_of_a_result(tensor):
    x = tensor(X) * 2
    made = [Tagged(x), torch.Tensor._make_subclass(Tagged, x), x.as_subclass(Tagged), Tagged(x[1:])]
    return [(type(t).__name__, t.as_subclass(torch.Tensor), type(t + 1).__name__) for t in made]


@program
def it_shares_memory_with_the_result(tensor):
    x = tensor(X) * 2
    made = Tagged(x)
    made.add_(1)
    x.mul_(2)
    return x, made.as_subclass(torch.Tensor)


@program
def gradients_go_through_it(tensor):
    x, y = tensor(X).requires_grad_(), tensor(X).requires_grad_()
    (Tagged(x * 2) * 3).sum().backward()
    ((y * 2).as_subclass(Tagged) * 3).sum().backward()
    leaf = tensor(X).requires_grad_()
    Tagged(leaf).sum().backward()
    detached = torch.Tensor._make_subclass(Tagged, x * 2, True)
    return x.grad, y.grad, leaf.grad, (detached.is_leaf, detached.requires_grad), Tagged(x * 2).is_leaf


@program
def other_tensors_are_constructed_as_ever(tensor):
    return torch.Tensor([1, 2]), list(torch.Tensor(2, 3).shape), torch.Tensor().numel(), type(Tagged([1.0])).__name__


@program
def a_parameter_of_another_type_keeps_it_and_its_attributes(tensor):
    layer = nn.Linear(4, 4)
    layer.weight = Frozen(tensor(X) * 2, purpose="weights")
    nn.init.constant_(layer.bias, 0.5)
    layer(tensor(X)).sum().backward()
    copied = copy.deepcopy(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    optimizer.step()
    found = [(type(p.weight).__name__, p.weight.purpose, p.weight.is_leaf) for p in (layer, copied)]
    return found, layer.weight.detach().as_subclass(torch.Tensor), layer.weight.grad.as_subclass(torch.Tensor)


@program
def a_plain_parameter_is_one(tensor):
    parameter = nn.Parameter(tensor(X) * 2)
    (parameter * 2).sum().backward()
    return isinstance(parameter, nn.Parameter), parameter.is_leaf, parameter.detach(), parameter.grad


@program
def modules_without_shapes_yet(tensor):
    torch.manual_seed(0)
    layers = nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyLinear(2, bias=False)
    model = nn.Sequential(*layers)
    unknown = [repr(layer) for layer in layers]
    kept = io.BytesIO()
    torch.save(model.state_dict(), kept)
    for parameter in model.parameters():
        assert isinstance(parameter, nn.UninitializedParameter)
    shape = model(tensor(X)).shape
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    other = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyLinear(2, bias=False))
    other.load_state_dict(model.state_dict())
    model(tensor(X)).sum().backward()
    convolved = nn.LazyConv2d(2, 3)(tensor(X)[None, None])
    return (
        unknown,
        shape,
        [repr(layer) for layer in layers],
        model.eval()(tensor(X)).detach().round(decimals=3),
        convolved.shape,
    )


def test_a_subclass_is_made_after_the_block(device):
    with device as session:
        x = session.to_device(X) * 2
    made = Tagged(x)
    assert type(made) is Tagged
    assert made.tolist() == (X * 2).tolist()
