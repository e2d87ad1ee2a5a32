"""`ttreg new-op` prints a module that imports, with what schema, PyTorch's tests and ttnn's names give."""

from __future__ import annotations

import importlib.util
from keyword import kwlist

import pytest
import torch
from typer.testing import CliRunner

from ttreg import cli
from ttreg.call import Call
from ttreg.errors import TtregError
from ttreg.explain import op_samples, skeleton
from ttreg.explain.lookup import find_op
from ttreg.explain.op_samples import calls_of, sample_code
from ttreg.explain.skeleton import Skeleton
from ttreg.registry import registry
from ttreg.schema import functional_form, tensor_arguments, written_arguments

aten = torch.ops.aten


class Input:
    """A sample of PyTorch's tests."""

    def __init__(self, input, *args, **kwargs):
        self.input, self.args, self.kwargs = input, args, kwargs


class Info:
    """An op info of PyTorch's tests, without the twenty seconds that importing those takes."""

    def __init__(self, op, *inputs):
        self.op, self.inputs = op, inputs

    def sample_inputs(self, device, dtype, requires_grad):
        return iter(self.inputs)


@pytest.fixture
def infos(monkeypatch):
    """What PyTorch's tests have of an op; nothing until a test says so."""
    known = []
    monkeypatch.setattr(op_samples, "_op_infos", lambda name: known)
    return known


@pytest.fixture
def imported(tmp_path):
    """Imports code as a module of its own, and gives the entries that it adds."""
    before = set(registry._entries) if len(registry) else set()

    def load(code):
        path = tmp_path / "new_ops.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location("new_ops", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return [entry for entry in registry if entry.op not in before]

    yield load
    for op in set(registry._entries) - before:
        del registry._entries[op]


def without_entry():
    """Every 12th of the ops that could have an entry and have none."""
    found = []
    for name in sorted(torch._C._dispatch_get_all_op_names()):
        namespace, _, rest = name.partition("::")
        packet, _, overload = rest.partition(".")
        op = getattr(getattr(getattr(torch.ops, namespace), packet, None), overload or "default", None)
        if namespace != "aten" or op is None or written_arguments(op) or not tensor_arguments(op):
            continue
        expressible = not any(argument.name in kwlist for argument in op._schema.arguments)
        if expressible and functional_form(op) is None and registry.find(op) is None:
            found.append(str(op))
    return found[::12]


def test_the_skeleton_of_any_op_imports_as_an_entry(infos, imported):
    ops = without_entry()
    assert len(ops) > 40
    for name in ops:
        made = skeleton.skeleton(name)
        entries = imported(made.code)
        assert made.op == name
        assert name in [str(entry.op) for entry in entries]


def test_samples_are_the_calls_that_pytorchs_tests_make(infos, imported):
    x, i = torch.rand(3, 4) + 1, torch.tensor([0, 2])
    infos.append(
        Info(
            torch.take,
            Input(x, i),
            Input(x, i[:1]),
            Input(x[0], i),
            Input(torch.rand(0), i[:0]),
        )
    )
    op = aten.take.default
    calls = calls_of(op)
    assert [str(Call.bind(op, (), call)) for call in calls] == [
        "aten.take.default(self=float32[3, 4], index=int64[2])",
        "aten.take.default(self=float32[3, 4], index=int64[1])",
        "aten.take.default(self=float32[4], index=int64[2])",
    ]
    made = skeleton.skeleton("take")
    (entry,) = imported(made.code)
    assert 'takes={"self": FLOATS, "index": INDICES},' in made.code
    tried = [Call.bind(op, s.args, s.kwargs) for s in entry.samples()]
    assert [str(call) for call in tried[:3]] == [str(Call.bind(op, (), call)) for call in calls]
    assert [call["self"].dtype for call in tried[3:]] == [torch.bfloat16, torch.float64]
    assert [entry.refuse(call) is None for call in tried] == [True, True, True, True, False]


def test_sample_code_makes_what_it_was_made_of():
    made = {}
    exec("import torch\nfrom ttreg.samples import Sample, bools, ints, rand", made)
    tensor = torch.rand(2, 3) + 5
    call = {"self": tensor, "dim": [1], "keepdim": True, "dtype": torch.float32}
    assert sample_code(call, aten.mean.dim) == ("Sample(rand(2, 3, low=5.0, high=6.0), [1], True, dtype=torch.float32)")
    for value in (
        tensor,
        torch.tensor([True]),
        torch.tensor([[3, -4]]),
        torch.rand(2).to(torch.complex64),
        -torch.rand(()),
    ):
        again = eval(op_samples._code(value, None), made)
        assert (again.dtype, again.shape) == (value.dtype, value.shape)
    assert eval(op_samples._code([float("-inf"), None, "text", 1 + 2j, torch.channels_last], None), made) == [
        float("-inf"), None, "text", 1 + 2j, torch.channels_last,
    ]  # fmt: skip


def test_what_a_lowering_has_no_use_for_is_left_none(infos):
    code = skeleton.skeleton("rand_like").code if registry.find(aten.rand_like.default) is None else ""
    code = code or skeleton._code(aten.rand_like.default, "FLOATS", [], [])
    assert 'Is("generator", None)' in code or 'Is("device", None)' in code
    assert "device" not in code.partition("def rand_like(")[2].partition(")")[0]


def test_ttnns_functions_are_found_by_name(infos):
    assert skeleton._candidates(aten.cumsum.default)[0] == "cumsum"
    assert "heaviside" in skeleton.skeleton("heaviside").candidates


def test_an_op_that_has_an_entry_or_writes_is_refused(infos):
    with pytest.raises(TtregError, match="has an entry already: ttreg show relu"):
        skeleton.skeleton("relu")
    done = CliRunner().invoke(cli.app, ["new-op", "relu"])
    assert (done.exit_code, done.stdout) == (2, "")
    with pytest.raises(TtregError, match="no Python function can take"):
        skeleton.skeleton("random.from")
    with pytest.raises(TtregError, match="takes no tensor"):
        skeleton.skeleton("randperm")
    assert str(skeleton._without_entry(find_op("heaviside_"))) == "aten.heaviside.default"


@pytest.mark.long
def test_the_command_says_what_verify_says(imported):
    done = CliRunner().invoke(cli.app, ["new-op", "logaddexp", "--json"])
    made = Skeleton.model_validate_json(done.stdout)
    assert made.candidates[0] == "logaddexp"
    assert len(made.verdicts) == made.samples >= 3
    assert not made.verdicts[-1].accepted
    assert made.verdicts[0].accepted
    assert imported(made.code)


def test_without_what_pytorchs_tests_need_it_says_so(monkeypatch):
    monkeypatch.setattr("ttreg.explain.op_samples.find_spec", lambda name: None)
    made = skeleton.skeleton("heaviside")
    assert made.samples == 0
    assert "# PyTorch's own tests need the package expecttest: yield Sample(...)" in made.code
