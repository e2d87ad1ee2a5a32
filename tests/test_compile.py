"""`torch.compile(backend="ttreg")` gives what the plain program gives, captured outside a block and as it is inside."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch._dynamo
from torch import nn
from torch._dynamo.utils import counters
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import ttreg
from ttreg.blocks.compile import close_sessions
from ttreg.runtime import lowering

OPTIONS = {"device": "emulated", "min_upload_numel": 0}
CONFIG = torch._dynamo.config


@pytest.fixture(autouse=True)
def _nothing_captured():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(autouse=True)
def _never_symbolic(monkeypatch):
    """What a lowering sees, and so ttnn, is numbers and values of the device."""
    run = lowering.run_lowering

    def checked(tt, carriers, plan, arguments):
        for leaf in tree_leaves(arguments):
            assert not isinstance(leaf, (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)), plan.op
        return run(tt, carriers, plan, arguments)

    monkeypatch.setattr("ttreg.runtime.session.run_lowering", checked)


def compiled(function, **keywords):
    return torch.compile(function, backend="ttreg", options=OPTIONS, **keywords)


def graphs():
    return counters["stats"]["unique_graphs"]


def session():
    return ttreg.compile_session(**OPTIONS)


def data(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


# Each takes the function that compiles, and gives results to compare.


def varying_sizes(compile_):
    function = compile_(lambda x: torch.softmax(x @ x.mT, -1) + 1, dynamic=True)
    return [function(data(n, 16)) for n in (3, 8, 5, 2)]


def marked_dynamic(compile_):
    function, results = compile_(lambda x: torch.relu(x).sum(0)), []
    for n in (4, 7, 9):
        x = data(n, 16)
        torch._dynamo.mark_dynamic(x, 0)
        results.append(function(x))
    return results


def symbolic_numbers_in_and_out(compile_):
    def function(x, n):
        return x.repeat(n, 1).clone(), x.shape[0] * 2, n + x.shape[1], x[:n], torch.arange(x.shape[0] + n)

    function = compile_(function, dynamic=True)
    return [function(data(n, 8), times) for n, times in ((4, 2), (5, 3), (6, 4))]


def no_elements(compile_):
    function = compile_(lambda x: (x * 2, x.sum(), x.shape[0]), dynamic=True)
    return [function(data(n, 4)) for n in (3, 0, 1)]


def as_many_as_counted(x):
    count = x.abs().sum().to(torch.int64).item()
    torch._check(count >= 0)
    return torch.zeros(count) + x.mean(), count


def counted(compile_):
    function = compile_(as_many_as_counted)
    return [function(data(n, 8)) for n in (4, 5, 6)]


def counted_in_the_graph(compile_):
    with CONFIG.patch(capture_scalar_outputs=True):
        function = compile_(as_many_as_counted, fullgraph=True, dynamic=True)
        return [function(data(n, 8)) for n in (4, 5, 6)]


def positive(x):
    where = torch.nonzero(x.flatten() > 0).flatten()
    return x.flatten()[where].exp(), where.shape[0]


def found(compile_):
    function = compile_(positive)
    return [function(data(n, 8)) for n in (4, 5, 6)]


def found_in_the_graph(compile_):
    with CONFIG.patch(capture_dynamic_output_shape_ops=True):
        function = compile_(positive, fullgraph=True, dynamic=True)
        return [function(data(n, 8)) for n in (4, 5, 6)]


def graph_breaks(compile_):
    def function(x):
        y = torch.relu(x) * 2
        torch._dynamo.graph_break()
        return y.sqrt() if y.sum() > 0 else y - 1

    function = compile_(function)
    return [function(data(4, 8)), function(-data(4, 8).abs())]


def recompiles(compile_):
    function = compile_(lambda x, exp=False: x.exp() if exp else x.sigmoid())
    return [function(data(4, 8)), function(data(4, 8), True), function(data(4, 8).bfloat16()), function(data(2, 4, 8))]


def training(compile_):
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 10)
    model = nn.Sequential(*layers)
    network, optimizer = compile_(model), torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(data(4, 3, 8, 8)), torch.arange(4))
        loss.backward()
        optimizer.step()
    return list(model.parameters()), list(model.buffers()), loss


def backward_twice(compile_):
    x = data(4, 8).requires_grad_()
    y = compile_(torch.sigmoid)(x)
    y.sum().backward(retain_graph=True)
    first = x.grad.clone()
    x.grad.mul_(3)
    y.sum().backward()
    return first, x.grad, y


def checkpointed(compile_):
    layer, x = nn.Linear(8, 8), data(4, 8).requires_grad_()

    def function(x):
        return torch.utils.checkpoint.checkpoint(lambda x: torch.relu(layer(x)), x, use_reentrant=False)

    compile_(function)(x).sum().backward()
    return x.grad, layer.weight.grad


class Mutating(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        self.mean.add_(x.mean(0))
        x.mul_(2)
        return x + self.mean


def mutation(compile_):
    model, x = Mutating(), data(4, 8)
    function = compile_(model)
    return [function(x), function(x), x, model.mean]


def aliases(compile_):
    def function(x):
        double = x * 2
        return x.view(-1), double, double.view(-1), double[0], x

    x = data(4, 8)
    flat, double, flat_double, row, same = compile_(function)(x)
    flat.add_(1)
    double.mul_(3)
    row.sub_(1)
    return flat, double, flat_double, row, same is x, x


def aliases_with_gradients(compile_):
    def function(x):
        y = torch.relu(x)
        return y, y.view(-1), y[1:]

    x = data(4, 8).requires_grad_()
    whole, flat, part = compile_(function)(x)
    (whole.sum() + flat.square().sum() + part.exp().sum()).backward()
    return x.grad, whole, flat, part


def transforms(compile_):
    def function(w, x):
        gradient = torch.func.grad(lambda w: torch.tanh(x @ w).sum())(w)
        return gradient, torch.func.vmap(lambda row: torch.tanh(row @ w))(x), torch.func.jacrev(torch.sin)(x[0])

    return compile_(function)(data(8, 3), data(4, 8))


def functional_call(compile_):
    layer = nn.Linear(8, 3)
    doubled = {name: p.detach() * 2 for name, p in layer.named_parameters()}
    return compile_(lambda p, x: torch.func.functional_call(layer, p, (x,)))(doubled, data(4, 8))


def control_flow(compile_):
    def function(x):
        x = torch.cond(x.sum() > 0, lambda x: x.relu(), lambda x: x - 1, (x,))
        return torch.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), x))

    function = compile_(function)
    return function(data(4, 8)), function(-data(4, 8).abs())


def random_numbers(compile_):
    function = compile_(lambda x: F.dropout(x, 0.5) + torch.rand_like(x))
    return function(data(4, 8)), torch.rand(2)


def inference(compile_):
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True).eval()
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    padding, later = torch.arange(6).expand(2, 6) > 4, torch.ones(6, 6).triu(1).bool()

    def function(x):
        y = layer(x, src_key_padding_mask=padding, src_mask=later)
        return attention(y, y, y, key_padding_mask=padding)

    function = compile_(function)
    with torch.no_grad():
        first = function(data(2, 6, 16))
    with torch.inference_mode():
        return first, [result.clone() for result in function(data(2, 6, 16))]


def constants(compile_):
    outer = data(8)
    return compile_(lambda x: x + outer + torch.tensor([1.0, 2.0] * 4) + torch.arange(8))(data(4, 8))


def index_out_of_range(compile_):
    return compile_(nn.Embedding(10, 8))(torch.tensor([1, 10]))


# With the number of graphs that Dynamo makes of each, where that is the point.
PROGRAMS = {
    varying_sizes: 1,
    marked_dynamic: 1,
    symbolic_numbers_in_and_out: 1,
    no_elements: None,
    counted: None,
    counted_in_the_graph: 1,
    found: None,
    found_in_the_graph: 1,
    graph_breaks: 4,
    recompiles: 4,
    training: 1,
    backward_twice: 1,
    checkpointed: 1,
    mutation: 1,
    aliases: 1,
    aliases_with_gradients: 1,
    transforms: 1,
    functional_call: 1,
    control_flow: 1,
    random_numbers: 1,
    inference: 2,
    constants: 1,
    index_out_of_range: 1,
}


def outcome(program, compile_):
    torch.manual_seed(0)
    try:
        return program(compile_)
    except IndexError as error:
        return str(error)


def tensors(results):
    return [leaf for leaf in tree_leaves(results) if isinstance(leaf, torch.Tensor)]


def assert_same(actual, expected):
    actual, expected = tree_leaves(actual), tree_leaves(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        if isinstance(e, torch.Tensor):
            torch.testing.assert_close(a, e, rtol=1e-2 if e.dtype == torch.bfloat16 else 1e-4, atol=1e-4)
        else:
            assert a == e


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_outside_a_block_a_session_of_its_own_runs_the_graphs(program):
    expected = outcome(program, lambda function, **_: function)
    counters.clear()
    actual = outcome(program, compiled)
    assert_same(actual, expected)
    assert [leaf.stride() for leaf in tensors(actual)] == [leaf.stride() for leaf in tensors(expected)]
    assert {type(leaf) for leaf in tensors(actual)} <= {torch.Tensor, nn.Parameter}
    assert graphs() == PROGRAMS[program] or (PROGRAMS[program] is None and graphs())
    report = session().report()
    assert report.totals.device or program is index_out_of_range
    assert not [row.op for row in report.ops if row.placement == "host" and "registry" in row.reason]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_inside_a_block_the_blocks_session_runs_the_code_as_it_is(program, device):
    expected = outcome(program, lambda function, **_: function)
    counters.clear()
    with device as block:
        actual = outcome(program, compiled)
    assert_same(actual, expected)
    assert not graphs()
    assert block.report().totals.device or program is index_out_of_range
    assert not session().report().totals.calls


def test_weights_stay_on_the_device_between_calls():
    model = nn.Linear(32, 32)
    function, x = compiled(model), data(4, 32)
    for _ in range(3):
        function(x)
        x = x + 1
    transfers = session().report().transfers
    assert (transfers.weight_uploads, transfers.uploads) == (2, 3)


@torch.no_grad()
def test_a_weight_that_changes_unseen_is_uploaded_again():
    model, x = nn.Linear(32, 32), data(4, 32)
    function = compiled(model)
    function(x)
    model.weight.data.mul_(2)  # no version counter shows it
    assert_same(function(x), model(x))
    model.bias.detach().numpy()[:] = 7
    assert_same(function(x), model(x))


def test_what_backward_needs_stays_on_the_device_and_is_not_the_programs_to_change():
    x = data(4, 8).requires_grad_()
    y = compiled(lambda x: torch.sigmoid(x.exp()))(x)
    assert session().report().transfers.downloads == 1
    expected = torch.autograd.grad(torch.sigmoid(x.exp()).sum(), x)
    y.detach().numpy()[:] = 0
    assert_same(torch.autograd.grad(y.sum(), x), expected)


def test_the_memory_of_a_model_that_is_gone_is_freed():
    model = nn.Linear(32, 32)
    weight = weakref.ref(model.weight.untyped_storage())
    compiled(model)(data(4, 32))
    uploads = session().uploads
    assert uploads._storages
    del model
    torch._dynamo.reset_code_caches()
    gc.collect()
    assert weight() is None
    assert not [key for key, kept in uploads._storages.items() if kept.reference() is None]


def test_a_loss_taken_backward_inside_a_block_is_the_blocks(device):
    model, x = nn.Linear(8, 8), data(4, 8)
    loss = compiled(model)(x).square().sum()
    before = session().report().totals.calls
    with device as block:
        loss.backward()
    assert session().report().totals.calls == before
    assert "aten.mm.default" in {row.op for row in block.report().ops if row.placement == "device"}
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    assert_same([p.grad for p in model.parameters()], expected)


def test_a_block_opened_by_a_compiled_function(device):
    def function(x):
        y = x + 1
        with device:
            return torch.relu(y)

    assert_same(compiled(function)(data(4, 8)), torch.relu(data(4, 8) + 1))
    assert graphs()


def test_threads_share_a_session(monkeypatch):
    import threading

    function, results = compiled(lambda x: torch.relu(x) + 1, dynamic=True), []
    function(data(3, 8))
    threads = [threading.Thread(target=lambda: results.append(function(data(5, 8)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(results, [torch.relu(data(5, 8)) + 1] * 3)


def test_settings_come_from_the_options_and_the_environment(monkeypatch):
    monkeypatch.setenv("TTREG_DEVICE", "emulated")
    monkeypatch.setenv("TTREG_PRECISION", "bfloat16")
    x, y = data(32, 64), data(64, 32)

    def product(a, b):  # Dynamo compiles all of PyTorch's own functions as one, and only so often
        return a @ b

    exact = torch.compile(product, backend="ttreg", options={"precision": "preserve"})(x, y)
    rounded = torch.compile(product, backend="ttreg")(x, y)
    assert_same(exact, x @ y)
    assert not torch.allclose(rounded, x @ y, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rounded, x @ y, rtol=0.1, atol=0.5)
    assert ttreg.compile_session().settings.precision == "bfloat16"
    assert ttreg.compile_session(precision="preserve").report().totals.device == 1


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"options": {"devise": "emulated"}}, "did you mean 'device'.*Known: device, device_id"),
        ({"options": {"precision": "float8"}}, "precision is 'float8'; expected one of"),
        ({"mode": "max-autotune"}, "no mode 'max-autotune'"),
    ],
)
def test_what_is_no_option_is_refused(keywords, message):
    with pytest.raises(Exception, match=f"(?s)SettingsError: .*{message}"):
        torch.compile(torch.relu, backend="ttreg", **keywords)(data(4))


def test_fallbacks_raise_where_that_is_asked_for():
    function = torch.compile(torch.linalg.qr, backend="ttreg", options=OPTIONS | {"on_fallback": "raise"})
    with pytest.raises(ttreg.FallbackError, match="linalg_qr"):
        function(data(4, 4))
    assert_same(compiled(lambda x: x + 1)(data(4)), data(4) + 1)


def test_reset_closes_the_session_and_the_next_call_opens_another():
    function = compiled(torch.relu)
    function(data(4, 8))
    first = session()
    torch._dynamo.reset()
    assert not first.uploads._storages
    assert first.report().totals.device == 1
    assert_same(function(data(4, 8)), torch.relu(data(4, 8)))
    assert session() is not first


def test_a_session_closed_before_backward():
    x = data(4, 8).requires_grad_()
    y = compiled(lambda x: torch.sigmoid(x.exp()))(x)
    close_sessions()
    y.sum().backward()
    assert_same(x.grad, torch.autograd.grad(torch.sigmoid(x.exp()).sum(), x)[0])


def test_the_backend_is_listed():
    assert "ttreg" in torch._dynamo.list_backends()
