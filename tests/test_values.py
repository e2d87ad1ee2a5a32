"""`ttreg verify --values`: what a chip computes beside the CPU, and what becomes of the rest when a sample fails."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ttreg import cli
from ttreg.errors import TtregError
from ttreg.measured import Errors, Figures, SampleFigures, SweepFigures, packaged
from ttreg.meta import meta_of
from ttreg.registry import registry
from ttreg.verification import measure, values_file
from ttreg.verification.judge import judged
from ttreg.verification.sweep import sweeps, swept
from ttreg.verification.trial import Output
from ttreg.verification.values import Compared, Values, errors
from ttreg.verification.values_file import Run
from ttreg.verification.verify import Verdict

aten = torch.ops.aten

HERE = Path(__file__).parent
NAN, INF = float("nan"), float("inf")
OPS = ("aten.cos.default", "aten.erf.default", "aten.exp.default", "aten.sin.default", "aten.tan.default")

pytestmark = pytest.mark.xdist_group("values")


def verdict(sample=0, op="aten.exp.default", error="", **values):
    values = {"call": "self=f32[3]", "dtype": "float32", "status": "ok", "calls": "abc"} | values
    return Verdict(
        op=op, family="unary", arch="wormhole_b0", sample=sample, accepted=True, error=error, values=Values(**values)
    )


def output(**measures):
    usual = {"dtype": "float32", "shape": [3], "n": 3, "equal": False, "close": True, "pcc": 1.0}
    return Compared(**usual | measures)


@pytest.fixture(scope="module")
def erring():
    """What is said of the samples of a chip that errs by plan: by op, for the sample that meets the fault, and all."""
    os.environ["STAND_IN_PLAN"] = "errs"
    try:
        todo = list(measure.tasks((*OPS, "aten.trunc.default")))
        verdicts = list(measure.measure(todo, {}, 10.0, module=HERE / "stand_in_chip.py"))
    finally:
        del os.environ["STAND_IN_PLAN"]
    assert len(verdicts) == len(todo)
    return verdicts


def of(verdicts, op):
    found = [v for v in verdicts if v.op == op and v.accepted]
    (faulty,) = [v for v in found if v.values.call.endswith("[33]")]
    return faulty, [v for v in found if v is not faulty]


@pytest.mark.parametrize(
    ("op", "status", "said"),
    [
        ("aten.erf.default", "differs", ""),
        ("aten.sin.default", "refused", "no circular buffer"),
        ("aten.cos.default", "hung", "no answer within 10 s"),
        ("aten.tan.default", "vanished", "SIGKILL"),
    ],
)
def test_a_sample_that_fails_has_its_line_and_the_others_go_on(erring, op, status, said):
    faulty, others = of(erring, op)
    assert (faulty.values.status, said in faulty.error) == (status, True)
    assert {v.values.status for v in others} == {"ok"}
    assert all(v.values.outputs and v.values.calls for v in others)


def test_wrong_values_are_measured(erring):
    (found,) = of(erring, "aten.erf.default")[0].values.outputs
    assert found.max_abs == pytest.approx(0.25, rel=0.1)
    assert (found.n, found.wrong, found.nonfinite, found.close) == (33, 33, 0, False)


def test_a_card_that_disappears_is_looked_for_three_times_and_no_more(erring):
    of_trunc = [v for v in erring if v.op == "aten.trunc.default" and v.accepted]
    gone = of_trunc.index(of(erring, "aten.trunc.default")[0])
    assert {v.values.status for v in of_trunc[:gone]} == {"ok"}
    lost = of_trunc[gone:]
    assert {v.values.status for v in lost} == {"unavailable"}
    assert "fell off the bus" in lost[0].error
    assert all(v.error for v in lost)


def test_without_a_chip_the_samples_after_three_are_not_tried(tmp_path):
    module = tmp_path / "no_chip.py"
    module.write_text("from ttreg import devices\ndevices.chip_present = lambda: False\n")
    todo = list(measure.tasks(["aten.exp.default"]))
    verdicts = list(measure.measure(todo, {}, 60.0, module=module))
    assert {v.values.status for v in verdicts} == {"unavailable"}
    assert [v.error.startswith("not tried: ") for v in verdicts] == [False] * 3 + [True] * (len(todo) - 3)


def test_the_command_measures_shows_and_resumes(tmp_path, chip_for_workers):
    out = tmp_path / "values.jsonl"
    command = ["verify", "--values", "aten.exp.default", "--special", "--out", str(out)]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert "aten.exp.default" in done.stdout
    assert "0 worse than stated" in done.stdout
    found = values_file.read(out)[1]
    accepted = [v for v in found if v.accepted]
    assert {v.values.status for v in accepted} == {"ok"}
    assert {v.values.dtype for v in accepted if v.values.sweep is not None} == {"float32", "bfloat16"}
    of_now = {s.calls for f in packaged().figures.values() if f.op == "aten.exp.default" for s in f.samples}
    assert of_now <= {v.values.calls for v in accepted}  # on a chip, the calls are those of the emulated device

    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:-2]) + lines[-2][:20])  # as a run that was ended leaves it
    again = CliRunner().invoke(cli.app, [*command, "--json"])
    assert again.exit_code == 0, again.output
    assert [Verdict.model_validate_json(line).op for line in again.stdout.splitlines()] == [v.op for v in accepted]
    assert len(out.read_text().splitlines()) == len(lines)
    assert out.read_text().startswith("".join(lines[:-2]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--values", "--simulator", "/no/such/simulator"], "/no/such/simulator"),
        (["--values", "--arch", "blackhole"], "--arch"),
        (["--values", "no_such_op"], "no_such_op"),
        (["--values", "--precision", "int8"], "'preserve', 'bfloat16'"),
        (["--values", "--timeout", "0"], "--timeout"),
        (["--values", "--workers", "none"], "--workers"),
        (["--simulator", "."], "--values"),
        (["--out", "values.jsonl"], "--values"),
        (["--special"], "--values"),
    ],
)
def test_wrong_arguments_are_bad_usage(arguments, said):
    done = CliRunner().invoke(cli.app, ["verify", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_without_a_chip_it_says_so():
    done = CliRunner().invoke(cli.app, ["verify", "exp", "--values"], env={"TT_METAL_SIMULATOR": ""})
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert "TT_METAL_SIMULATOR" in done.stderr


def file_of(path, *verdicts, **run):
    made = Run.of_here({}).model_copy(update=run)
    path.write_text("".join(one.model_dump_json() + "\n" for one in (made, *verdicts)))
    return path


def test_a_file_of_another_ttnn_is_refused_with_both_versions(tmp_path, monkeypatch):
    path = file_of(tmp_path / "values.jsonl", verdict(), ttnn="0.80.0")
    before = path.read_text()
    here = Run.of_here({}).ttnn
    monkeypatch.setattr("ttreg.devices.require_chip", lambda: None)
    for arguments in (["verify", "--values", "exp", "--out", str(path)], ["limits", "--from", str(path)]):
        done = CliRunner().invoke(cli.app, arguments)
        assert done.exit_code == 2
        assert all(version in done.stderr for version in ("0.80.0", here))
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("{}\n", "line 1, ttnn"),
        ("no JSON\n", "line 1"),
        (Run.of_here({}).model_dump_json() + '\n{"op": 3}\n', "line 2, op"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, text, said):
    path = tmp_path / "values.jsonl"
    path.write_text(text)
    with pytest.raises(TtregError, match=said):
        values_file.read(path)


def test_a_file_is_continued_on_what_it_was_begun_on(tmp_path):
    path = file_of(tmp_path / "values.jsonl", verdict(), on="the simulator libttsim.so")
    with pytest.raises(TtregError, match=r"on the simulator libttsim\.so, and this run is on a chip"):
        values_file.resume(path, Run.of_here({}).model_copy(update={"on": "a chip"}))
    path = file_of(tmp_path / "values.jsonl", verdict())
    with pytest.raises(TtregError, match="bfloat16"):
        values_file.resume(path, Run.of_here({"precision": "bfloat16"}))
    assert values_file.resume(path, Run.of_here({})) == [verdict()]


def test_what_found_no_chip_is_not_in_the_file(tmp_path):
    path = file_of(tmp_path / "values.jsonl")
    found = [verdict(), verdict(1, error="gone", status="unavailable"), verdict(2, error="late", status="hung")]
    assert list(values_file.appended(path, found)) == found
    assert [v.sample for v in values_file.resume(path, Run.of_here({}))] == [0, 2]


def test_errors_are_those_of_finite_values_and_the_rest_is_counted():
    wanted = torch.tensor([1.0, 2.0, 0.0, NAN, INF, INF, 4.0])
    given = torch.tensor([1.0, 2.5, 0.0, NAN, INF, -INF, NAN])
    found = errors(given, wanted)
    assert (found.max_abs, found.max_rel, found.nonfinite, found.wrong) == (0.5, 0.25, 2, 3)
    assert errors(torch.tensor([1e-6]), torch.tensor([0.0])).max_rel == 1.0
    assert errors(torch.ones(3, dtype=torch.int32), torch.tensor([1, 1, 3], dtype=torch.int32)).wrong == 1
    assert errors(torch.empty(0), torch.empty(0)).max_abs == 0.0


def test_a_sweep_finds_special_values_that_differ():
    entry = registry.find(aten.erf.default)
    (inputs,) = sweeps(entry, torch.float32)
    (x,) = inputs.tensors
    wanted = torch.erf(x)

    def found(values):
        return swept(inputs, Output(meta_of(values), values), Output(meta_of(wanted), wanted))

    assert (found(wanted).differ, found(wanted).usual.max_abs, found(wanted).wide.wrong) == (0, 0.0, 0)
    loses_nan = found(wanted.nan_to_num(nan=1.0))
    assert [str(special) for special in loses_nan.special] == ["nan gives 1 (CPU nan)"]
    assert loses_nan.usual.max_abs == 0.0
    off = found(torch.where((x > 5) & (x < 6), wanted + 0.5, wanted))
    assert (off.differ, off.usual.max_abs) == (0, 0.5)


def test_sweeps_are_for_ops_of_single_elements():
    assert not list(sweeps(registry.find(aten.cumsum.default), torch.float32))
    assert not list(sweeps(registry.find(aten._softmax.default), torch.float32))
    (pairs,) = sweeps(registry.find(aten.maximum.default), torch.bfloat16)
    assert [tensor.dtype for tensor in pairs.tensors] == [torch.bfloat16] * 2
    assert pairs.special == 37 * 37


STATED = Figures(
    op="aten.exp.default",
    dtype="float32",
    samples=[SampleFigures(call="a", calls="b", max_rel=1e-3, max_abs=1e-3)],
    sweep=SweepFigures(call="a", calls="b", usual=Errors(max_rel=1e-6, max_abs=1e-6), differ=1),
)


@pytest.mark.parametrize(
    ("measures", "worse"),
    [
        ({"max_rel": 1e-3, "max_abs": 1e-3, "wrong": 1}, False),
        ({"max_rel": 5e-2, "max_abs": 1e-4}, False),  # next to zero
        ({"max_rel": 5e-3, "max_abs": 5e-3}, True),
        ({"nonfinite": 1}, True),
    ],
)
def test_values_are_held_to_the_stated_figure(measures, worse):
    found = judged(verdict(outputs=[output(**measures)]), STATED)
    assert bool(found.error) == worse
    assert "stated" in found.error or not worse


def test_without_a_figure_that_holds_values_are_held_to_the_tolerance():
    changed = STATED.model_copy(deep=True)
    changed.samples[0].changed = True
    for figures in (None, changed):
        assert not judged(verdict(outputs=[output(max_abs=1e-6, max_rel=1.0)]), figures).error
        assert "no figure" in judged(verdict(outputs=[output(max_abs=1.0, wrong=2)]), figures).error


def test_a_sweep_is_held_to_the_stated_special_values():
    def swept_with(differ, **usual):
        return verdict(None, sweep={"differ": differ, "special": [], "usual": usual, "wide": {}})

    assert not judged(swept_with(1), STATED).error
    assert "2 special values differ, 1 are stated" in judged(swept_with(2), STATED).error
    assert "worst relative error" in judged(swept_with(1, max_rel=1e-3, max_abs=1e-3), STATED).error


def test_json_lines_are_verdicts_with_values(monkeypatch):
    found = [verdict(outputs=[output(max_rel=0.5, max_abs=0.5, wrong=3)]), verdict(1)]
    monkeypatch.setattr(measure, "measure", lambda *_: iter(found))
    monkeypatch.setattr("ttreg.devices.require_chip", lambda: None)
    monkeypatch.setattr("ttreg.measured.packaged", lambda: type("Measured", (), {"figures": {}}))
    done = CliRunner().invoke(cli.app, ["verify", "--values", "aten.exp.default", "--json"])
    assert done.exit_code == 1
    first, second = [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]
    assert "outside of the tolerance" in first.error
    assert second == found[1]
    shown = CliRunner().invoke(cli.app, ["verify", "--values", "aten.exp.default"]).stdout
    assert "2 accepted samples on wormhole_b0: 2 within the tolerance" in shown
    assert "worse than stated" in shown
