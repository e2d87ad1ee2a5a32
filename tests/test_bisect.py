"""`ttreg bisect`: the call that loses precision is named, what others inherit is not blamed on them."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.bisect.measure import Bisection
from ttreg.coverage.targets import from_factory

PROGRAMS = """
import torch
from torch import nn
from torch.nn import functional as F

class Program(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run, self.inner, self.outer = run, nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.run(self, x)

def factory(run):
    def made():
        torch.manual_seed(0)
        return Program(run).eval(), torch.randn(32, 64)
    return made

def _layers(self, x):
    hidden = self.inner(x)
    hidden = torch.tanh(hidden)
    hidden = hidden.relu() + 1
    return self.outer(hidden)

def _writes(self, x):
    y = self.inner(x)
    y[:, :32] += 1
    y[0] = 0
    y.t()[1:].mul_(2)
    halves = y.chunk(2, 1)
    halves[1].add_(halves[0])
    return self.outer(y.relu_())

def _draws(self, x):
    y = F.dropout(self.inner(x), 0.3) + torch.randn_like(x)
    generator = torch.Generator().manual_seed(3)
    return self.outer(y * torch.rand(32, 64, generator=generator)), torch.bernoulli(y.sigmoid().round())

def _dtypes(self, x):
    y = self.inner(x)
    y = y.half().float() + y.double().sin().float() + y.bfloat16()
    return self.outer(y), y.view(torch.int32).view(torch.float32) * 2

def _complex(self, x):
    spectrum = torch.fft.rfft(self.inner(x))
    parts = torch.view_as_real(spectrum) * 2
    return self.outer(torch.fft.irfft(spectrum * spectrum.conj(), n=64)), parts

def _ints(self, x):
    y = self.inner(x)
    return y > 0, torch.where(y > 0, y, y.new_zeros(())), y.topk(3).values, y.new_empty(32, 64).copy_(y)

def _sparse(self, x):
    return self.inner(x).relu().to_sparse().to_dense() + 1

def _array(self, x):
    y = self.inner(x)
    y.numpy()[:] = 1
    return self.outer(y)

def _odd(self, x):
    y = self.inner(x)
    masked = (y @ y.t() + torch.full((32, 32), float("-inf")).triu(1)).softmax(-1)
    least = y.masked_fill(y > 0, torch.finfo(y.dtype).min).softmax(-1)
    none = self.inner(x[:0])
    constant = self.inner(torch.zeros(32, 64)) * 0
    return masked, least, none, none.sum(), constant.relu(), y.abs() * float("inf"), torch.log(y - y.abs() - 1)

def _branches(self, x):
    y = self.inner(x)
    chosen = y[y == y.bfloat16()]
    if bool((y - y.bfloat16() == 0).all()):
        y = y * 2
    return self.outer(y), chosen.sum()

def _numbers(self, x):
    y = self.inner(x)
    if int(torch.tanh(y).abs().max() * 20) > 20:
        y = y * 2
    return self.outer(y)

def _long(self, x):
    for _ in range(30):
        x = torch.tanh(x)
    return x

def _fails(self, x):
    return self.inner(x) @ torch.ones(3, 4)

def _of_host(self, x):
    return torch.tanh(self.inner(x)).double().sin().float() + 1

layers, writes, draws, dtypes = map(factory, (_layers, _writes, _draws, _dtypes))
of_complex, ints, array, odd, branches = map(factory, (_complex, _ints, _array, _odd, _branches))
numbers, long, fails, of_host, sparse = map(factory, (_numbers, _long, _fails, _of_host, _sparse))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(64), nn.Linear(64, 192), nn.Linear(64, 64)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        weights = (q @ k.mT / 8).softmax(-1)
        return x + self.out(F.gelu(weights @ v))

def transformer():
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block()).eval(), torch.randn(2, 32, 64)

def cnn():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3600, 10)
    return nn.Sequential(*layers), torch.rand(2, 3, 32, 32)

def trained():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Linear(64, 64))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    inputs = torch.randn(32, 64)
    def steps():
        for _ in range(2):
            optimizer.zero_grad()
            loss = net(inputs).square().mean()
            loss.backward()
            optimizer.step()
        return net(inputs).detach()
    return steps

def inferred():
    torch.manual_seed(0)
    net, inputs = nn.Linear(64, 64), torch.randn(32, 64)
    def run():
        with torch.inference_mode():
            hidden = net(inputs)
            hidden.relu_()
            hidden += 1
            return net(hidden).reshape(8, 256).contiguous()
    return run

def leaves():
    return lambda: exit(3)

def on_meta():
    with torch.device("meta"):
        return nn.Linear(64, 64), torch.ones(32, 64)

class Weights(nn.Module):
    # Powers of two that share an exponent are exact in a block float; thirds, and far ranges, are not.
    def __init__(self):
        super().__init__()
        self.small, self.rough = nn.Linear(64, 64, bias=False), nn.Linear(64, 128, bias=False)
        self.large, self.head = nn.Linear(128, 256, bias=False), nn.Linear(256, 32, bias=False)
        for layer in (self.small, self.large, self.head):
            nn.init.constant_(layer.weight, 0.125)
        nn.init.uniform_(self.rough.weight, 0.1, 0.9)
        self.unused = nn.Parameter(torch.ones(64, 64))

    def forward(self, x):
        return self.head(self.large(self.rough(self.small(x))))

def weights():
    torch.manual_seed(0)
    return Weights().eval(), torch.randn(32, 64)
"""
SCRIPT = """
import sys
from pathlib import Path
import torch
from programs import layers
model, x = layers()
with torch.no_grad():
    result = model(x)
print(sys.argv, result.shape)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "programs.py").write_text(PROGRAMS)
    (folder / "script.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def bisect(folder, monkeypatch):
    """The command in this process, in the folder of programs, on the emulated device."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in ("argv", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.delitem(sys.modules, "programs", raising=False)

    def run(*arguments, device="emulated"):
        done = CliRunner().invoke(cli.app, ["bisect", *arguments, "--device", device])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


def said(done) -> Bisection:
    return Bisection.model_validate_json(done.stdout)


def line_of(code: str) -> int:
    return next(number for number, line in enumerate(PROGRAMS.splitlines(), 1) if line.strip() == code)


def tensors(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def by_hand(name, in_double=False, **settings):
    """The relative error of what the program returns on the device, the worst tensor's."""
    with ttreg.device_mode(device="emulated", **settings):
        got = tensors(from_factory(f"programs:{name}").run())
    if in_double:
        model, x = getattr(sys.modules["programs"], name)()
        with torch.no_grad():
            wanted = tensors(model.double()(x.double()))
    else:
        wanted = tensors(from_factory(f"programs:{name}").run())
    floating = [(g.double(), w.double()) for g, w in zip(got, wanted, strict=True) if w.is_floating_point()]
    unequal = [(g != w).double().mean() for g, w in zip(got, wanted, strict=True) if not w.is_floating_point()]
    return max([float((g - w).norm() / w.norm()) for g, w in floating] + [float(share) for share in unequal])


@pytest.fixture
def wrong_tanh(replaced):
    replaced(ttreg.aten.tanh.default, lambda tt, self: tt.multiply(tt.tanh(self), 1.1))


@pytest.mark.parametrize("against", ["cpu", "float64"])
def test_the_op_that_errs_is_named_with_its_line_and_others_are_not_blamed(bisect, folder, wrong_tanh, against):
    done = bisect("programs:layers", "--against", against, "--json")
    assert done.exit_code == 1
    made = said(done)
    (first,) = made.passing
    code = "hidden = torch.tanh(hidden)"
    assert (first.op, first.code) == ("aten.tanh.default", code)
    assert first.where == f"{folder / 'programs.py'}:{line_of(code)}"
    assert first.own == pytest.approx(0.1, rel=1e-3)
    assert first.inherited < 1e-6
    assert made.worst[0] is first
    after = made.calls[made.calls.index(first) + 1 :]
    assert [row.op for row in after] == ["aten.relu.default", "aten.add.Tensor", "aten.linear.default"]
    assert all(row.own < 1e-6 and row.inherited > 1e-3 for row in after)
    assert after[-1].module == "outer"
    assert made.error == after[-1].error == pytest.approx(by_hand("layers"), rel=1e-3)
    text = bisect("programs:layers", "--against", against).stdout
    assert f"the error passes 0.01 after call {first.number}, aten.tanh.default, at programs.py:{line_of(code)}" in text
    assert code in text


def test_nothing_is_named_where_all_is_within_the_budget(bisect):
    done = bisect("programs:layers")
    assert done.exit_code == 0
    assert "the error stays within 0.01" in done.stdout
    assert "aten.tanh.default" not in done.stdout.partition("these calls add most themselves")[0]


def test_a_reference_in_float64_shows_the_roundings_of_float32(bisect):
    made = said(bisect("programs:layers", "--against", "float64", "--json"))
    assert 1e-9 < made.error < 1e-6
    assert made.error == pytest.approx(by_hand("layers", in_double=True), rel=0.05)
    assert all(row.own > 0 for row in made.calls if row.op == "aten.linear.default")


SAME = [
    "layers",
    "writes",
    "draws",
    "dtypes",
    "of_complex",
    "ints",
    "array",
    "transformer",
    "cnn",
    "trained",
    "inferred",
]


@pytest.mark.parametrize("name", SAME)
def test_the_error_is_that_of_a_run_beside_a_run(bisect, name):
    made = said(bisect(f"programs:{name}", "--precision", "bfloat16", "--budget", "0.5", "--json"))
    assert made.error == pytest.approx(by_hand(name, precision="bfloat16"), rel=1e-3)
    assert made.error > 0 or name == "array"
    assert (made.partings, made.failed) == ([], "")
    on_device = [row for row in made.calls if row.placement == "device"]
    assert on_device
    for row in made.calls:
        assert row.error is None or abs(row.own - row.inherited) - 1e-9 <= row.error <= row.own + row.inherited + 1e-9


@pytest.mark.parametrize("name", [name for name in SAME if name != "dtypes"])  # which rounds to half itself
def test_in_float32_golden_numerics_are_the_references(bisect, name):
    for against in ("cpu", "float64"):
        made = said(bisect(f"programs:{name}", "--against", against, "--json"))
        assert made.error < 1e-4
        assert made.partings == []


def test_what_the_host_runs_adds_nothing_and_inherits(bisect, wrong_tanh):
    for precision in ("preserve", "bfloat16"):
        made = said(bisect("programs:of_host", "--precision", precision, "--json"))
        sine = next(row for row in made.calls if row.op == "aten.sin.default")
        assert (sine.placement, sine.own) == ("host", 0)
        assert sine.inherited == sine.error > 0.05
        assert not sine.passes


def test_what_is_odd_is_compared_and_blames_no_one(bisect):
    for against in ("cpu", "float64"):
        done = bisect("programs:odd", "--against", against, "--json")
        assert done.exit_code == 0, [row for row in said(done).calls if row.passes]
        made = said(done)
        assert made.non_finite == 0
        assert all(math.isfinite(row.error) for row in made.calls)


def test_values_that_are_not_finite_on_one_side_are_counted(bisect, replaced):
    replaced(ttreg.aten.tanh.default, lambda tt, self: tt.log(tt.multiply(tt.tanh(self), 0.0)))
    made = said(bisect("programs:layers", "--json"))
    (first,) = made.passing
    assert (first.op, first.non_finite, first.own_non_finite) == ("aten.tanh.default", 32 * 64, 32 * 64)
    assert "2048 NaN or inf" in bisect("programs:layers").stdout


def test_two_sides_that_take_different_ways_are_told(bisect, folder):
    done = bisect("programs:branches", "--precision", "bfloat16", "--json")
    made = said(done)
    assert made.failed == ""
    shapes = next(parting for parting in made.partings if "other shapes" in parting.what)
    assert shapes.where == f"{folder / 'programs.py'}:{line_of('chosen = y[y == y.bfloat16()]')}"
    assert shapes.device != shapes.reference
    read = next(parting for parting in made.partings if "reads" in parting.what)
    assert (read.device, read.reference) == ("True", "False")
    assert read.where.endswith(f":{line_of('if bool((y - y.bfloat16() == 0).all()):')}")
    text = bisect("programs:branches", "--precision", "bfloat16").stdout
    assert "True on the device, False in the reference, at programs.py:" in text


def test_what_cannot_be_followed_is_told(bisect, wrong_tanh):
    made = said(bisect("programs:sparse", "--precision", "bfloat16", "--json"))
    assert "cannot be followed" in made.partings[0].what
    assert made.calls[-1].op == "aten.add.Tensor"


def test_a_number_that_decides_is_told(bisect, wrong_tanh):
    made = said(bisect("programs:numbers", "--json"))
    (parting,) = made.partings
    assert parting.where.endswith(f":{line_of('if int(torch.tanh(y).abs().max() * 20) > 20:')}")
    assert float(parting.device) == pytest.approx(1.1 * float(parting.reference), rel=1e-3)


def test_a_program_that_fails_does_so_as_its_own(bisect):
    done = bisect("programs:fails")
    assert done.exit_code == 1
    assert "the program failed, what follows is not compared: RuntimeError" in done.stdout
    assert "1 call compared" in done.stdout
    trace = done.stderr
    assert "return self.inner(x) @ torch.ones(3, 4)" in trace
    assert "/ttreg/" not in trace
    assert bisect("programs:leaves").exit_code == 3


def test_a_script_is_a_target(bisect):
    done = bisect("script.py", "--json")
    assert done.exit_code == 0, done.stderr
    assert "['script.py'] torch.Size([32, 64])" in done.stderr
    made = said(done)
    assert made.error is None
    assert [row.op for row in made.calls][:2] == ["aten.linear.default", "aten.tanh.default"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("programs:nothing",), "programs has no function 'nothing'"),
        (("nothing.py:layers",), "there is no file nothing.py"),
        (("programs",), "'programs' is no target"),
        (("calls.jsonl",), "a file of calls has no values"),
        (("programs:on_meta",), "leaves tensors on the meta device"),
        (("programs:layers", "an argument"), "only a script takes arguments"),
        (("programs:layers", "--budget", "-1"), "expected a relative error"),
        (("programs:layers", "--budget", "nan"), "expected a relative error"),
        (("programs:layers", "--budget", "some"), "--budget"),
        (("programs:layers", "--against", "gpu"), "expected cpu or float64"),
        (("programs:layers", "--precision", "int8"), "precision is 'int8'"),
        (("programs:layers", "--rows", "-1"), "--rows"),
        (("programs:layers", "--try", "float8"), "expected bfloat8_b or bfloat4_b"),
        (("programs:trained", "--try", "bfloat8_b"), "no factory that returns a model"),
        (("programs:layers", "--plot", "plot.txt"), "expected a name that ends in"),
        (("programs:layers", "--plot", "no/plot.svg"), "name a file in a folder that exists"),
    ],
)
def test_what_is_wrong_in_the_command_is_bad_usage(bisect, arguments, text):
    done = bisect(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert text in " ".join(done.stderr.replace("│", " ").split())


def test_a_device_without_values_is_bad_usage(bisect):
    done = bisect("programs:layers", device="mock")
    assert done.exit_code == 2
    assert "no values to compare" in done.stderr


def test_the_weights_that_a_block_float_can_carry_are_found_most_bytes_first(bisect):
    done = bisect("programs:weights", "--try", "bfloat8_b", "--budget", "1e-5", "--json")
    carried = said(done).carried
    assert carried.weights == ["large.weight", "head.weight", "small.weight"]
    assert [row.name for row in carried.rows] == ["large.weight", "rough.weight", "head.weight", "small.weight"]
    assert [row.carried for row in carried.rows] == [True, False, True, True]
    assert carried.rows[0].saved_bytes == 32 * (4096 - 1088)
    assert carried.saved_bytes == sum(row.saved_bytes for row in carried.rows if row.carried)
    assert carried.rows[1].error > 1e-5 > carried.error
    assert said(bisect("programs:weights", "--try", "bfloat8_b", "--json")).carried.weights[1] == "rough.weight"

    shown = bisect("programs:weights", "--try", "bfloat8_b", "--budget", "1e-5").stdout
    assert "3 of 4 weights can be carried in bfloat8_b within 1e-05" in shown
    call = shown.rstrip().splitlines()[-1]
    assert call == carried.call
    model, x = sys.modules["programs"].weights()
    with torch.no_grad():
        wanted = model(x)
        exec(call, {"ttreg": ttreg, "model": model})
        with ttreg.device_mode(device="emulated") as session:
            got = model(x)
    assert float((got - wanted).norm() / wanted.norm()) == pytest.approx(carried.error, abs=1e-9)
    assert session.report().transfers.weight_uploads == 4


def test_weights_are_left_as_they_were(bisect, monkeypatch):
    made = []
    monkeypatch.setattr(ttreg.bisect.measure, "try_block_float", _noting(ttreg.bisect.measure.try_block_float, made))
    bisect("programs:weights", "--try", "bfloat4_b", "--budget", "1e-5")
    from ttreg.runtime.block_floats import block_float_of

    assert [block_float_of(parameter) for parameter in made[0].parameters()] == [None] * 5


def _noting(function, made):
    def noting(dtype, runs, settings, model, *rest):
        made.append(model)
        return function(dtype, runs, settings, model, *rest)

    return noting


def test_no_weight_is_carried_where_the_budget_is_passed_without(bisect, wrong_tanh):
    carried = said(bisect("programs:layers", "--try", "bfloat8_b", "--json")).carried
    assert (carried.weights, carried.call, carried.saved_bytes) == ([], "", 0)


@pytest.mark.parametrize("name", ["transformer", "cnn"])
def test_json_and_table_of_models(bisect, name):
    options = (f"programs:{name}", "--precision", "bfloat16", "--budget", "0.004")
    done = bisect(*options, "--json")
    made = said(done)
    assert Bisection.model_validate_json(made.model_dump_json()) == made
    assert (made.device, made.settings["precision"], made.against) == ("emulated", "bfloat16", "cpu")
    assert [row.number for row in made.calls] == list(range(1, len(made.calls) + 1))
    text = bisect(*options, "--rows", "3").stdout
    assert max(map(len, text.splitlines())) <= 120
    for row in (*made.passing[:3], *made.worst[:3]):
        assert row.op in text
    assert f"and {len(made.worst) - 3} more, which --json has" in text
    where = "programs.py:" if name == "transformer" else "torch/nn/modules/conv.py:"
    assert where in text


def test_tables_have_the_first_rows(bisect, wrong_tanh):
    text = bisect("programs:long", "--rows", "2").stdout
    assert text.count("│ aten.tanh.default │") == 3  # one after which the error is above the budget, two that add most
    assert "and 28 more, which --json has" in text
    assert "│" not in bisect("programs:long", "--rows", "0").stdout


def test_the_error_is_drawn_along_the_program(bisect, wrong_tanh, tmp_path):
    path = tmp_path / "plot.svg"
    bisect("programs:layers", "--plot", str(path))
    drawn = path.read_text()
    for text in ("relative error", "own error", "budget 0.01", "2 tanh"):
        assert text in drawn


def test_shadows_end_with_the_tensors_that_they_are_of(bisect, monkeypatch, wrong_tanh):
    from ttreg.bisect import measure

    counts, put = [], measure.SideBySide

    class Counting(put):
        def differs(self, *args):
            raise AssertionError(args)

        def close(self):
            counts.append(len(self.shadows._of_cells))
            super().close()

    monkeypatch.setattr(measure, "SideBySide", Counting)
    bisect("programs:long")
    assert counts == [1]


def test_a_chips_numerics_are_foretold(bisect):
    golden, chip = (said(bisect("programs:layers", "--numerics", kind, "--json")) for kind in ("golden", "chip"))
    assert chip.settings["numerics"] == "chip"
    assert chip.error == pytest.approx(by_hand("layers", numerics="chip"), rel=1e-3)
    assert chip.error > 100 * golden.error
    assert all(row.op == "aten.linear.default" for row in chip.worst[:2])  # the matrix unit cuts its operands


def test_the_command_of_the_page_prints_what_it_says(bisect, monkeypatch):
    root = Path(__file__).parent.parent
    readme = (root / "docs" / "registry.md").read_text()
    command, *lines = readme.partition("$ ttreg bisect ")[2].partition("```")[0].strip().splitlines()
    monkeypatch.chdir(root)
    text = bisect(*command.split()).stdout
    for line in lines:
        assert line in text or line == "..."
