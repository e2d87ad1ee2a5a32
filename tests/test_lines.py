"""What a traced program tells of each call: line, module, aten op, ttnn calls, tensors, bytes, the device's memory."""

from __future__ import annotations

import inspect
import json
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.devices.base import RefusedByDevice
from ttreg.report import Report
from ttreg.reporting.modules import by_module


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(32, 32)

    def forward(self, x):
        weights = torch.softmax(self.query(x) @ x.transpose(-1, -2), -1)
        return weights @ x


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.norm = nn.LayerNorm(32)

    def forward(self, x):
        return self.norm(x + self.attention(x))


class Net(nn.Module):
    def __init__(self, again=False):
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.again = again

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.again else layer(x)
        return x.mean()


X = torch.rand(2, 32, 32)


def line_of(cls, code):
    lines, first = inspect.getsourcelines(cls)
    (number,) = (first + n for n, line in enumerate(lines) if code in line)
    return f"{__file__}:{number}"


@pytest.fixture
def traced(tmp_path):
    return lambda **keywords: ttreg.device_mode(
        **({"device": "emulated", "min_upload_numel": 0, "trace": tmp_path / "t.json"} | keywords)
    )


def rows_of(session, op, backward=False):
    return [row for row in session.report().lines if row.op == op and row.backward is backward]


@pytest.mark.parametrize("device", ["emulated", "mock"])
def test_a_call_is_told_with_line_module_tensors_ttnn_calls_and_memory(traced, device):
    net = Net()
    with traced(device=device) as session, torch.no_grad():
        net(X)
    softmax = rows_of(session, "aten._softmax.default")
    assert [row.module for row in softmax] == ["layers.0.attention", "layers.1.attention"]
    for row in softmax:
        assert row.model == "Net"
        assert row.line == line_of(Attention, "torch.softmax")
        assert row.shapes == ["float32[2, 32, 32] -> float32[2, 32, 32]"]
        assert row.bytes == X.nbytes
        assert row.device_calls == {"softmax": 1}
        assert row.work.bytes_moved == 2 * X.nbytes
        assert row.memory_after == row.memory_before + X.nbytes
    assert [row.module for row in rows_of(session, "aten.linear.default")] == [
        "layers.0.attention.query",
        "layers.1.attention.query",
    ]
    (mean,) = rows_of(session, "aten.mean.default")
    assert (mean.model, mean.module, mean.line) == ("Net", "", line_of(Net, "x.mean()"))


@pytest.mark.parametrize("again", [False, True])
def test_gradients_have_the_module_and_line_of_their_forward_call(traced, again):
    net = Net(again)
    with traced() as session:
        net(X.clone().requires_grad_()).backward()
    softmax = rows_of(session, "aten._softmax_backward_data.default", backward=True)
    assert [row.module for row in softmax] == ["layers.1.attention", "layers.0.attention"]
    assert {row.line for row in softmax} == {line_of(Attention, "torch.softmax")}
    norm = rows_of(session, "aten.native_layer_norm_backward.default", backward=True)
    assert [(row.module, row.count) for row in norm] == [("layers.1.norm", 1), ("layers.0.norm", 1)]
    recomputed = rows_of(session, "aten._softmax.default", backward=True)
    assert [row.module for row in recomputed] == (["layers.1.attention", "layers.0.attention"] if again else [])


def test_the_gradient_of_a_gradient_is_the_same_modules(traced):
    net = Net()
    with traced() as session:
        x = X.clone().requires_grad_()
        (first,) = torch.autograd.grad(net(x), x, create_graph=True)
        first.square().sum().backward()
    named = {row.module for row in rows_of(session, "aten.bmm.default", backward=True)}
    assert named >= {"layers.0.attention", "layers.1.attention"}


def test_a_programs_own_backward_has_its_own_line(traced):
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient.exp()

    class Doubled(nn.Module):
        def forward(self, x):
            return Double.apply(x)

    model = nn.Sequential(nn.Linear(32, 32), Doubled())
    with traced() as session:
        model(X).sum().backward()
    (row,) = rows_of(session, "aten.exp.default", backward=True)
    assert (row.model, row.module, row.line) == ("Sequential", "1", line_of(Double, "gradient.exp()"))


def test_a_module_that_no_attribute_holds_is_named_by_its_class(traced):
    hidden = [nn.Linear(32, 32)]

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Inner()

        def forward(self, x):
            return self.part(x)

    class Inner(nn.Module):
        def forward(self, x):
            return hidden[0](x)

    with traced() as session, torch.no_grad():
        Outer()(X)
        hidden[0](X)
    rows = rows_of(session, "aten.linear.default")
    assert [(row.model, row.module) for row in rows] == [("Outer", "part.Linear"), ("Linear", "")]


def test_all_calls_and_ttnn_calls_of_the_report_are_in_its_lines(traced):
    net = Net()
    with traced() as session:
        net(X).backward()
        torch.ops.aten.rot90.default(X).double().tolist()
    report = session.report()
    counted, calls = Counter(), Counter()
    for row in report.lines:
        counted[row.op, row.placement] += row.count
        calls.update(row.device_calls)
    assert {key: n for key, n in counted.items() if key[0].startswith("aten.") and "needed" not in key[0]} == Counter(
        {(row.op, row.placement): 0 for row in report.ops}
    ) + Counter([(row.op, row.placement) for row in report.ops for _ in range(row.count)])
    assert calls == {name: n for name, n in report.device_calls.items() if name not in ("from_torch", "to_torch")}


def test_a_refused_call_is_told_with_its_line_module_and_the_memory_held(traced, monkeypatch):
    def full(tt, *args, **kwargs):
        raise RefusedByDevice("softmax", "Out of Memory: Not enough space to allocate 8192 B DRAM buffer")

    net = Net()
    with traced() as session, torch.no_grad():
        monkeypatch.setattr(session.tt, "softmax", full)
        with pytest.raises(ttreg.DeviceError) as raised:
            net(X)
    text = str(raised.value)
    assert f"at {line_of(Attention, 'torch.softmax')} in layers.0.attention; the session held " in text
    assert "Out of Memory" in text


@pytest.fixture
def saved(traced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = Net()
    with traced() as session:
        net(X).backward()
        torch.special.bessel_j0(X)
    (tmp_path / "r.json").write_text(session.report().model_dump_json())
    return session.report()


def run(*arguments):
    return CliRunner().invoke(cli.app, ["report", *arguments])


def test_modules_fold_in_the_report(saved):
    done = run("r.json", "--by", "module")
    assert done.exit_code == 0, done.output
    cells = [line.split("│")[1] for line in done.stdout.splitlines() if "│" in line]
    names = [(len(cell) - len(cell.lstrip()) - 1, cell.strip()) for cell in cells]
    assert names[:6] == [(0, "Net"), (2, "layers"), (4, "0"), (6, "attention"), (6, "norm"), (4, "1")]
    assert (0, "Net, backward") in names
    assert names[-2] == (0, "outside of modules")
    whole = run("r.json", "--by", "module", "--depth", "0")
    cells = [line.split("│")[1].strip() for line in whole.stdout.splitlines() if "│" in line]
    assert cells[:2] == ["Net", "Net, backward"]


def test_a_module_counts_what_lies_below_it(saved):
    forward, backward, *rest = by_module(saved)
    assert [node.name for node in rest] == ["outside of modules", "outside of modules, backward"]
    layers = forward.below["layers"].below.values()
    assert [node.name for node in layers] == ["0", "1"]
    inside = sum(node.calls("device") for node in layers)
    assert forward.calls("device") == inside + 1  # and the mean
    total = sum(node.work.calls for node in (forward, backward))
    assert total == sum(sum(row.device_calls.values()) for row in saved.lines if row.model)


def test_lines_are_shown_with_what_they_call(saved):
    done = run("r.json", "--by", "line")
    assert done.exit_code == 0, done.output
    assert f"test_lines.py:{line_of(Attention, 'torch.softmax').rpartition(':')[2]}" in done.stdout
    assert "layers.0.attention.query" in done.stdout
    said = json.loads(run("r.json", "--json").stdout)
    assert Report.model_validate(said["report"]).lines == saved.lines


def test_the_page_folds_modules_with_their_lines(saved, tmp_path):
    assert run("r.json", "--html", "r.html").exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count('<details class="module"') == page.count("</details>") > 6
    assert "<code>layers</code>" in page
    assert line_of(Attention, "torch.softmax") in page


def test_a_report_without_a_trace_says_how_to_get_lines(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ttreg.device_mode(device="emulated") as session:
        torch.relu(X)
    assert not session.report().lines
    (tmp_path / "r.json").write_text(session.report().model_dump_json())
    done = run("r.json", "--by", "line")
    assert done.exit_code == 2
    assert "ttreg run --trace" in done.output.replace("\n", " ")


class Growing(torch.nn.Module):
    def forward(self, x):
        large = x.repeat(1, 64, 512)
        return [large + n for n in range(4)]


def test_want_of_memory_is_told_with_the_line_and_the_module_also_without_a_trace():
    net = torch.nn.ModuleDict({"body": torch.nn.Sequential(torch.nn.ReLU(), Growing())})
    net.forward = lambda x: net["body"](x)
    with pytest.raises(ttreg.DeviceError) as raised, ttreg.device_mode(device="mock"), torch.no_grad():
        net(torch.ones(4, 128, 64))
    text = str(raised.value)
    assert "aten.add.Tensor" in text
    assert f"it was called at {line_of(Growing, 'large + n')} in body.1; the session holds " in text
    assert f"aten.repeat.default ({line_of(Growing, 'x.repeat')})" in text
