"""`torch.compile(backend="ttreg")` replays the graphs that it has recorded, and gives what the plain program gives."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import pytest
import torch
import torch._dynamo
from torch import nn
from torch.nn import functional as F

import ttreg
from ttreg.blocks.compile import close_sessions

OPTIONS = {"device": "emulated", "min_upload_numel": 0}


@pytest.fixture(autouse=True)
def _nothing_captured():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function, **keywords):
    return torch.compile(function, backend="ttreg", options=OPTIONS, **keywords)


def rows():
    return ttreg.compile_session(**OPTIONS).report().recorded


def replays():
    return sum(row.replays for row in rows())


def data(number, *shape):
    return torch.randn(shape or (4, 8), generator=torch.Generator().manual_seed(number))


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 10)
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        self.mean.add_(x.mean(0))
        x.mul_(2)
        return x + self.mean, x[0], self.mean


# Each makes a function of the number of the call, and of the function that compiles. Called again and again, it gives
# the same with and without compilation.


def images(compile_):
    torch.manual_seed(0)
    model = Layers().eval()
    function = torch.no_grad()(compile_(model))
    return lambda n: function(data(n, 4, 3, 8, 8))


def training(compile_):
    torch.manual_seed(0)
    model = Layers()
    model.layers[0].weight.requires_grad_(False)
    network, optimizer = compile_(model), torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def step(n):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(data(n, 4, 3, 8, 8)), torch.arange(4))
        loss.backward()
        optimizer.step()
        return [*model.parameters(), *model.buffers(), loss.detach()]

    return step


def gradients_added_up(compile_):
    layer = nn.Linear(8, 8)
    with torch.no_grad():
        layer.weight.copy_(data(1, 8, 8))
        layer.bias.copy_(data(1, 8))
    function = compile_(lambda x: torch.tanh(layer(x)) * x)

    def step(n):
        x = data(n).requires_grad_()
        y = function(x)
        y.sum().backward(retain_graph=True)
        y.square().sum().backward()
        return x.grad, layer.weight.grad, layer.bias.grad, y.detach()

    return step


def writes(compile_):
    model = Counting()
    function = compile_(model)

    def step(n):
        x = data(n)
        y, row, mean = function(x)
        y.sub_(1)
        return x, y, row, mean, model.mean

    return step


def aliases(compile_):
    def function(x):
        double = x * 2
        return x.view(-1), double, double.view(-1), double[0], x.t(), x

    function = compile_(function)

    def step(n):
        x = data(n)
        flat, double, flat_double, row, turned, same = function(x)
        flat.add_(1)
        double.mul_(3)
        row.sub_(1)
        turned.mul_(0.5)
        return flat, double, flat_double, row, turned, same is x, x

    return step


def arguments_that_share_memory(compile_):
    def function(x, y):
        x.add_(1)
        return x * y

    function = compile_(function)

    def step(n):
        x = data(n)
        y = x if n % 3 == 0 else x.t().contiguous().t() if n % 3 == 1 else x.view(4, 8)
        return function(x, y), x, y

    return step


def graph_breaks(compile_):
    def function(x):
        y = torch.relu(x) * 2
        return y.sqrt() if y.sum().item() > 30 else y - 1

    function = compile_(function)
    return lambda n: function(data(n) * (3 if n % 2 else 1))


def counted_in_the_graph(compile_):
    def function(x):
        count = (x > 0).sum().item()
        torch._check(count >= 0)
        return torch.zeros(count) + x.mean(), count

    function = compile_(function, dynamic=True)

    def step(n):
        with torch._dynamo.config.patch(capture_scalar_outputs=True):
            return function(data(n % 3))

    return step


def random_numbers(compile_):
    function = compile_(lambda x: F.dropout(x, 0.5) + torch.rand_like(x))
    return lambda n: (function(data(n)), torch.rand(2))


def varying_sizes(compile_):
    function = compile_(lambda x, n: (torch.softmax(x @ x.mT, -1) + n, x.shape[0] * 2), dynamic=True)
    return lambda n: function(data(n, 3 + n % 2, 8), n % 2)


def one_graph_for_two_layers(compile_):
    layers = [nn.Linear(8, 8) for _ in range(2)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight.copy_(data(number, 8, 8))
            layer.bias.copy_(data(number, 8))
    functions = [compile_(layer) for layer in layers]

    def step(n):
        with torch.no_grad():
            return functions[1](torch.relu(functions[0](data(n))))

    return step


def modes_that_change(compile_):
    layer = nn.Linear(8, 8)
    with torch.no_grad():
        layer.weight.copy_(data(1, 8, 8))
        layer.bias.copy_(data(1, 8))
    function = compile_(layer)

    def step(n):
        with torch.inference_mode() if n % 2 else torch.no_grad():
            return function(data(n)).clone()

    return step


# With the least number of replays.
PROGRAMS = {
    images: 4,
    training: 8,
    gradients_added_up: 8,
    writes: 4,
    aliases: 4,
    arguments_that_share_memory: 0,
    graph_breaks: 4,
    counted_in_the_graph: 1,
    random_numbers: 4,
    varying_sizes: 1,
    one_graph_for_two_layers: 8,
    modes_that_change: 2,
}


def held(value):
    return copy.deepcopy([v.detach() if isinstance(v, torch.Tensor) else v for v in value])


def outcomes(program, compile_):
    """What eight calls give. Results that the program holds stay what they were."""
    step = program(compile_)
    torch.manual_seed(0)
    seen = []
    for number in range(8):
        result = step(number)
        result = list(result) if isinstance(result, (list, tuple)) else [result]
        own = [v for v in result if isinstance(v, torch.Tensor) and not isinstance(v, nn.Parameter)]
        seen.append((result, held(result), own, held(own)))
    if program not in (training, writes, gradients_added_up):  # their buffers and gradients change
        for _, _, own, before in seen:
            assert all(map(torch.equal, own, before)), "an earlier result has changed"
    return [before for _, before, _, _ in seen]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_replayed_graphs_give_what_the_program_gives(program):
    expected = outcomes(program, lambda function, **_: function)
    actual = outcomes(program, compiled)
    for number, (one, other) in enumerate(zip(actual, expected, strict=True)):
        for a, e in zip(one, other, strict=True):
            if isinstance(e, torch.Tensor):
                torch.testing.assert_close(a, e, rtol=1e-4, atol=1e-5, msg=lambda m, n=number: f"call {n}: {m}")
                assert a.stride() == e.stride()
            else:
                assert a == e
    assert replays() >= PROGRAMS[program], rows()


def test_sizes_beyond_the_bound_run_op_by_op():
    function = compiled(lambda x: torch.relu(x).sum(0), dynamic=True)
    for _ in range(3):
        for size in range(2, 24):
            torch.testing.assert_close(function(data(size, size, 8)), torch.relu(data(size, size, 8)).sum(0))
    (row,) = rows()
    assert (row.recordings, row.checks, row.replays) == (16, 16, 16)
    assert (
        row.eager["there are 16 recordings, for other sizes"] == 5 + 6 + 6
    )  # the first call, of one more size, is not recorded


@torch.no_grad()
def test_weights_that_change_between_calls_are_seen():
    model = nn.Sequential(nn.Linear(32, 32), nn.Conv1d(4, 4, 3))
    function, x = compiled(model), data(0, 4, 32)

    def agrees():
        for _ in range(4):
            torch.testing.assert_close(function(x), model(x), rtol=1e-4, atol=1e-5)

    agrees()
    assert replays()
    model[0].weight.data.mul_(2)  # no version counter shows it
    agrees()
    model[1].weight.detach().numpy()[:] = 0.5
    agrees()
    model[0].bias.data = data(1, 32)
    agrees()
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    agrees()
    model[1] = nn.Conv1d(4, 4, 3)
    agrees()


def test_weights_are_uploaded_once_and_inputs_at_each_replay():
    model = nn.Linear(32, 32)
    function = compiled(model)
    for number in range(3):
        function(data(number, 4, 32))
    before = ttreg.compile_session(**OPTIONS).report().transfers
    for number in range(3, 6):
        function(data(number, 4, 32))
    after = ttreg.compile_session(**OPTIONS).report().transfers
    assert replays() == 3
    assert (after.weight_uploads, after.uploads, after.downloads) == (2, before.uploads + 3, before.downloads + 3)


def test_a_session_closed_between_calls_and_before_backward():
    layer = nn.Linear(8, 8)
    function = compiled(lambda x: torch.sigmoid(layer(x).exp()))
    for number in range(12):
        x = data(number).requires_grad_()
        y = function(x)
        if number in (4, 6):
            close_sessions()
        y.sum().backward()
        expected = torch.autograd.grad(torch.sigmoid(layer(x).exp()).sum(), x)[0]
        torch.testing.assert_close(x.grad, expected)
    assert replays()


def test_threads_share_recordings():
    layer = nn.Linear(8, 8)
    function, results = compiled(layer), {}
    with torch.no_grad():
        for number in range(3):
            function(data(number))

    @torch.no_grad()
    def run(first):
        for number in range(first, first + 8):
            results[number] = function(data(number))

    threads = [threading.Thread(target=run, args=(first,)) for first in (0, 8, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 24
    for number, result in results.items():
        torch.testing.assert_close(result, layer(data(number)))


def test_inputs_of_a_recorded_call_are_let_go_of():
    function = compiled(lambda x: torch.relu(x) + 1)
    x = data(0)
    for _ in range(4):
        function(x)
    assert replays()
    memory = weakref.ref(x.untyped_storage())
    del x
    torch._dynamo.reset_code_caches()
    gc.collect()
    assert memory() is None


def test_graphs_can_be_left_unrecorded():
    function = torch.compile(torch.relu, backend="ttreg", options=OPTIONS | {"record": False})
    for number in range(4):
        torch.testing.assert_close(function(data(number)), torch.relu(data(number)))
    assert not rows()
    with pytest.raises(Exception, match="record is 'no'; expected True or False"):
        torch.compile(torch.sigmoid, backend="ttreg", options={"record": "no"})(data(0))


def test_reduced_overhead_is_a_mode(monkeypatch):
    monkeypatch.setenv("TTREG_DEVICE", "emulated")
    function = torch.compile(lambda x: torch.softmax(x, -1), backend="ttreg", mode="reduce-overhead")
    for number in range(5):
        torch.testing.assert_close(function(data(number, 64, 64)), torch.softmax(data(number, 64, 64), -1))
    (row,) = ttreg.compile_session().report().recorded
    assert row.replays == 2
