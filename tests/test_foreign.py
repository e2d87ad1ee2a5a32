"""What is not for the device and passes through: fake and meta tensors, symbolic shapes, other subclasses and modes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing._internal.two_tensor import TwoTensor

import ttreg
from ttreg import DeviceTensor

X = torch.arange(12.0).reshape(3, 4) / 4


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x).relu() * x.shape[0]


def test_fake_tensors_inside_the_block_stay_fake(device):
    with device as session:
        on_device = session.to_device(X)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = mode.from_tensor(X)
            result = (fake @ fake.t()).relu() + 1
            made = torch.ones(2, 3) + 1
        after = (on_device + 1).tolist()
    assert isinstance(result, FakeTensor)
    assert isinstance(made, FakeTensor)
    assert (result.shape, made.shape) == ((3, 3), (2, 3))
    assert after == (X + 1).tolist()


def test_a_block_inside_a_fake_mode_leaves_it_in_charge(device):
    with FakeTensorMode() as mode, device:
        result = mode.from_tensor(X) + 1
    assert isinstance(result, FakeTensor)


def test_meta_tensors_stay_on_meta(device):
    with device:
        result = torch.ones(3, 4, device="meta") @ torch.ones(4, 5, device="meta")
        model = nn.Linear(4, 2, device="meta")(torch.ones(3, 4, device="meta"))
    assert result.is_meta
    assert model.is_meta
    assert result.shape == (3, 5)


@pytest.mark.parametrize("kind", ["real", "fake", "symbolic"])
def test_tracing_inside_the_block_gives_the_graph_of_outside(kind, device):
    def function(x):
        return (x @ x.t()).relu().sum() * x.shape[0]

    expected = make_fx(function, tracing_mode=kind)(X)
    with device as session:
        traced = make_fx(function, tracing_mode=kind)(X)
        result = traced(session.to_device(X))
    assert traced.code == expected.code
    torch.testing.assert_close(result.item(), function(X).item())


def test_export_inside_the_block(device):
    model = Model().eval()
    rows = torch.export.Dim("rows", min=2, max=64)
    with device as session:
        exported = torch.export.export(model, (X,), dynamic_shapes=({0: rows},))
        small = exported.module()(session.to_device(X))
        large = exported.module()(torch.ones(7, 4))
    torch.testing.assert_close(torch.tensor(small.tolist()), model(X).detach())
    torch.testing.assert_close(torch.tensor(large.tolist()), model(torch.ones(7, 4)).detach())


def test_an_exported_model_runs_inside_the_block(device):
    model = Model().eval()
    exported = torch.export.export(model, (X,)).module()
    with device, torch.no_grad():
        result = exported(X)
    torch.testing.assert_close(torch.tensor(result.tolist()), model(X).detach())


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_scripted_model_runs_inside_the_block(device):
    model = Model().eval()
    scripted = torch.jit.trace(model, X)
    with device, torch.no_grad():
        result = scripted(X)
    torch.testing.assert_close(torch.tensor(result.tolist()), model(X).detach())


def test_other_wrapper_subclasses_are_left_alone(device):
    with device as session:
        two = TwoTensor(X.clone(), X + 1)
        result = two * 2
        mixed = session.to_device(X) + 1
        two.add_(1)
    assert isinstance(result, TwoTensor)
    assert (result.a.tolist(), result.b.tolist()) == ((X * 2).tolist(), (X * 2 + 2).tolist())
    assert two.a.tolist() == (X + 1).tolist()
    assert isinstance(mixed, DeviceTensor)


class Labelled(torch.Tensor):
    """A subclass over ordinary memory, as torchvision's image tensors are."""


def test_subclasses_over_ordinary_memory_keep_their_type(device):
    labelled = X.clone().as_subclass(Labelled)
    with device:
        result = labelled + 1
        labelled.mul_(2)
        plain = labelled.as_subclass(torch.Tensor) + 1
    assert result.tolist() == (X + 1).tolist()
    assert isinstance(result, Labelled)
    assert labelled.tolist() == (X * 2).tolist()
    assert plain.tolist() == (X * 2 + 1).tolist()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_vmap_and_functional_transforms_compute_what_they_compute_on_cpu(device):
    def loss(weight, x):
        return (x @ weight).square().sum()

    weight = torch.ones(4, 2)
    expected = [
        torch.func.grad(loss)(weight, X),
        torch.func.vmap(lambda row: row * 2 + row.sum())(X),
        torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, X.view(3, 1, 4)),
        torch.func.jacrev(lambda x: (x * x).sum(0))(X),
        torch.func.jvp(lambda x: x * x, (X,), (torch.ones(3, 4),))[1],
    ]
    with device as session:
        on_device, weight_on_device = session.to_device(X), session.to_device(weight)
        results = [
            torch.func.grad(loss)(weight_on_device, on_device),
            torch.func.vmap(lambda row: row * 2 + row.sum())(on_device),
            torch.func.vmap(torch.func.grad(loss), (None, 0))(weight_on_device, on_device.view(3, 1, 4)),
            torch.func.jacrev(lambda x: (x * x).sum(0))(on_device),
            torch.func.jvp(lambda x: x * x, (on_device,), (torch.ones(3, 4),))[1],
        ]
    assert [r.tolist() for r in results] == [e.tolist() for e in expected]


def test_functional_calls_with_replaced_parameters(device):
    model = Model()
    replaced = {name: torch.ones_like(value) for name, value in model.named_parameters()}
    expected = torch.func.functional_call(model, replaced, (X,))
    with device as session:
        on_device = {name: session.to_device(value.detach()) for name, value in replaced.items()}
        result = torch.func.functional_call(model, on_device, (session.to_device(X),))
    assert result.tolist() == expected.tolist()


def test_tensors_of_another_session_after_its_end(device):
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as first:
        a = first.to_device(X)
        view = a.t()
    with device:
        a.add_(1)
        b = a + view.t()
        view.mul_(2)
    assert b.tolist() == (2 * X + 2).tolist()
    assert a.tolist() == (2 * X + 2).tolist()
