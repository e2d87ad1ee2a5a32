"""Under `device_mode`, tracing gives what it gives outside, and no fake or symbolic tensor is run."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import Dim
from torch.fx.experimental.proxy_tensor import make_fx

from ttreg import DeviceTensor


def data(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 4)
        self.register_buffer("offset", torch.arange(4.0))
        self.constant = torch.full((4,), 2.0)

    def forward(self, x):
        return torch.relu(self.layer(x)) * self.constant + self.offset + torch.tensor(1.5)


def same(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(params=["a plain input", "an input on the device"])
def given(request, device):
    """A block that has been entered, and what puts an input there."""
    with device as session:
        yield session, (session.to_device if request.param == "an input on the device" else torch.clone)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor", "ttreg"])
def test_compiled_for_any_backend(backend, given):
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("inductor needs a C++ compiler")
    session, put = given
    model = Model()
    function = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    before = session.report().totals.device
    for rows in (3, 5):
        x = put(data(rows, 8)).requires_grad_()
        result = function(x)
        assert isinstance(result, DeviceTensor)
        same(result, model(x))
        result.sum().backward()
        assert x.grad.shape == x.shape
    assert session.report().totals.device > before


def test_what_was_compiled_outside_runs_on_the_device_inside(given):
    function = torch.compile(Model(), backend="aot_eager")
    session, put = given
    with torch.utils._python_dispatch._disable_current_modes():
        expected = function(data(3, 8))
    same(function(put(data(3, 8))), expected)
    assert session.report().totals.device


@pytest.mark.parametrize("rows", [None, Dim("rows", min=2, max=64)], ids=["static", "dynamic"])
def test_exported(rows, given):
    _, put = given
    model = Model()
    program = torch.export.export(model, (put(data(3, 8)),), dynamic_shapes=rows and {"x": {0: rows}})
    assert not [c for c in program.constants.values() if isinstance(c, (FakeTensor, DeviceTensor))]
    run = program.module()
    for n in (3, 5) if rows else (3,):
        result = run(put(data(n, 8)))
        same(result, model(put(data(n, 8))))
        assert isinstance(result, DeviceTensor)
    same(program.run_decompositions().module()(put(data(3, 8))), model(put(data(3, 8))))


def test_exported_strictly(device):
    model = Model()
    with device:
        program = torch.export.export(model, (data(3, 8),), strict=True, dynamic_shapes={"x": {0: Dim("rows")}})
        same(program.module()(data(5, 8)), model(data(5, 8)))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(mode, given):
    session, put = given

    def function(x):
        return torch.softmax(x @ x.mT, -1)[: x.shape[0] - 1].clone()

    x = put(data(4, 8))
    before = session.report().totals.device
    graph = make_fx(function, tracing_mode=mode)(x)
    if mode != "real":
        assert session.report().totals.device == before
    assert not [name for name, value in vars(graph).items() if isinstance(value, torch.Tensor)]
    for rows in (4, 6) if mode == "symbolic" else (4,):
        same(graph(put(data(rows, 8))), function(put(data(rows, 8))))
    assert session.report().totals.device > before


def test_fake_tensors_stay_fake(given):
    session, put = given
    x = put(data(4, 8))
    before = session.report().totals
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
        result = nn.functional.layer_norm(fake @ torch.empty(8, 3), (3,))
    assert type(result) is FakeTensor
    assert (result.shape, result.stride(), result.device.type) == ((4, 3), (3, 1), "cpu")
    assert type(torch.relu(fake)) is FakeTensor  # also when its own mode is over
    assert session.report().totals.device == before.device


def test_jit_trace(given):
    _, put = given
    model = Model().eval()
    traced = torch.jit.trace(model, put(data(3, 8)))
    same(traced(put(data(5, 8))), model(put(data(5, 8))))
    graph = traced.inlined_graph
    constants = [type(node.output().toIValue()) for node in graph.findAllNodes("prim::Constant")]
    assert torch.Tensor in constants
    assert DeviceTensor not in constants


def test_traced_inside_runs_outside(device, tmp_path):
    model = Model().eval()
    with device:
        traced = torch.jit.trace(model, data(3, 8))
        exported = torch.export.export(model, (data(3, 8),))
    for function in (traced, exported.module()):
        result = function(data(3, 8))
        same(result, model(data(3, 8)))
    torch.jit.save(traced, str(tmp_path / "traced.pt"))
    torch.export.save(exported, str(tmp_path / "exported.pt2"))
    same(torch.jit.load(str(tmp_path / "traced.pt"))(data(3, 8)), model(data(3, 8)))
    same(torch.export.load(str(tmp_path / "exported.pt2")).module()(data(3, 8)), model(data(3, 8)))
