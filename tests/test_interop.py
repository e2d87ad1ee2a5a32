"""What programs do with tensors and models beside computing: files, batches, tracing, parametrizations."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, TensorDataset, default_collate

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
PROGRAMS: list = []
FAULTY: list = []
X = torch.arange(12.0).reshape(3, 4) / 4


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_it_raises_what_it_raises_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("shift", torch.ones(2))
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x):
        return self.layer(x).relu() + self.shift


def written(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    buffer.seek(0)
    return buffer


@program
def loaded_as_weights_only_and_for_another_device(tensor):
    buffer = written({"a": tensor(X), "b": [tensor(X).t(), tensor(X)[1:, ::2]]})
    options = [{"weights_only": True}, {"map_location": "cpu"}, {"map_location": lambda storage, _: storage}]
    found = []
    for option in [*options, {"map_location": "meta"}]:
        buffer.seek(0)
        found.append(torch.load(buffer, **option))
    meta = found.pop()["b"][0]
    return found, meta.shape, meta.stride(), meta.is_meta


@program
def written_in_the_old_format(tensor):
    return torch.load(written([tensor(X), tensor(X).t()], _use_new_zipfile_serialization=False), weights_only=True)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_mapped_file_is_computed_with(mmap, device, tmp_path):
    path = tmp_path / "state.pt"
    model = Model()
    with device as session:
        model.layer.weight.data = session.to_device(model.layer.weight.data * 2)
        torch.save(model.state_dict(), path)
        loaded = torch.load(path, mmap=mmap, weights_only=True)
        fresh = Model()
        fresh.load_state_dict(loaded, assign=True)
        results = [fresh(session.to_device(X)).tolist(), model(X).tolist()]
        loaded["layer.weight"].zero_()
        results.append(fresh(X).tolist())
    assert results[0] == results[1] == (X.sum(1, keepdim=True) + 1).expand(3, 2).tolist()
    assert results[2] == torch.ones(3, 2).tolist()


@program
def states_go_round(tensor):
    model, other = Model(), Model()
    with torch.no_grad():
        model.layer.weight.copy_(tensor(X)[:2])
        model.shift.mul_(tensor(X)[0, :2])
    model.layer.bias.data = tensor(X)[1, :2]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    model(tensor(X)).sum().backward()
    optimizer.step()
    states = torch.load(written({"model": model.state_dict(), "optimizer": optimizer.state_dict()}), weights_only=True)
    twin = torch.optim.Adam(other.parameters(), lr=0.5)
    missing = other.load_state_dict(states["model"])
    twin.load_state_dict(states["optimizer"])
    for m, o in ((model, optimizer), (other, twin)):
        o.zero_grad()
        m(tensor(X)).sum().backward()
        o.step()
    same = [torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)]
    return list(missing), list(states["model"]), same, twin.state_dict()["param_groups"], other.state_dict()


@faulty
def a_state_of_another_shape_is_refused(tensor):
    Model().load_state_dict({"layer.weight": tensor(X), "layer.bias": tensor(X)[0, :2], "shift": tensor(X)[0, :2]})


@program
def a_whole_model_is_pickled(tensor):
    model = Model()
    model.shift = tensor(X)[0, :2] * 2
    twin = pickle.loads(pickle.dumps(model))
    copied = copy.deepcopy(model)
    copied.shift.add_(1)
    return twin(tensor(X)), copied(tensor(X)), torch.load(written(model), weights_only=False)(tensor(X)), model.shift


@program
def collated(tensor):
    samples = [{"x": tensor(X) + n, "n": n, "pair": (tensor(X)[0], "text")} for n in range(2)]
    return default_collate(samples), torch.stack([s["x"] for s in samples])


@faulty
def other_shapes_are_not_collated(tensor):
    return default_collate([tensor(X), tensor(X)[1:]])


@program
def batches_are_loaded(tensor):
    data = TensorDataset(tensor(X), tensor(X) * 2)
    drawn = torch.Generator().manual_seed(3)
    loader = DataLoader(data, batch_size=2, shuffle=True, generator=drawn)
    return [[a + b, a @ b.t()] for a, b in loader], data[1], len(data)


@program
def traced_scripted_and_frozen(tensor):
    model = Model().eval()
    traced = torch.jit.trace(model, (tensor(X),))
    scripted = torch.jit.script(model)
    frozen = torch.jit.freeze(torch.jit.trace(model, (X,)))
    saved = io.BytesIO()
    torch.jit.save(traced, saved)
    saved.seek(0)
    with torch.no_grad():
        return [m(tensor(X)) for m in (traced, scripted, frozen, torch.jit.load(saved))], str(traced.graph).count(
            "aten"
        )


@program
def a_scripted_model_with_control_flow(tensor):
    @torch.jit.script
    def halved(x: torch.Tensor, limit: float) -> tuple[torch.Tensor, int]:
        steps = 0
        while float(x.sum()) > limit:
            x = x / 2
            steps += 1
        return x, steps

    return halved(tensor(X), 2.0)


@program
def a_traced_function_is_differentiated(tensor):
    traced = torch.jit.trace(lambda x: (x * x).sum(), (torch.ones(3, 4),))
    x = tensor(X).requires_grad_()
    traced(x).backward()
    return x.grad


@program
def a_graph_is_traced_and_changed(tensor):
    graph = torch.fx.symbolic_trace(Model())
    for node in graph.graph.nodes:
        if node.target == "relu":
            node.target = "sigmoid"
    graph.recompile()
    return graph.code, graph(tensor(X)).detach(), torch.fx.Interpreter(graph).run(tensor(X)).detach()


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).mT

    def right_inverse(self, weight):
        return weight.triu()


@program
def parametrized(tensor):
    layer = nn.Linear(4, 4, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    layer.weight = tensor(torch.arange(16.0).reshape(4, 4))
    layer(tensor(X)).sum().backward()
    with parametrize.cached():
        twice = layer.weight is layer.weight
    gradient = layer.parametrizations.weight.original.grad.clone()
    parametrize.remove_parametrizations(layer, "weight")
    return twice, gradient, layer.weight, layer(tensor(X)), [name for name, _ in layer.named_parameters()]


@program
def weight_norm(tensor):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2, bias=False))
    layer.weight = tensor(X)[1:]
    return layer(tensor(X)).detach().round(decimals=3), list(layer.state_dict())


@program
def called_with_other_parameters(tensor):
    model = Model()
    given = {"layer.weight": tensor(X)[1:], "shift": tensor(X)[0, :2]}
    called = torch.func.functional_call(model, given, (tensor(X),))
    stacked = torch.func.stack_module_state([Model(), Model()])[0]["layer.weight"]
    return called, model(tensor(X)), stacked.shape


@program
def views_of_ordinary_tensors_in_inference_mode(tensor):
    t, view = tensor(X), tensor(X).t()
    with torch.inference_mode():
        return [made.is_inference() for made in (t.t(), t[0], t.view(12), t.detach(), view[1:], t + 1)], t.t()
