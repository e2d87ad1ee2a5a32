"""The package's figures of what chips compute: where they come from, that they hold, and who says them."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner

from ttreg import cli, measured
from ttreg.errors import TtregError
from ttreg.explain.accuracy import CHANGED, NOT_MEASURED, accuracy, accuracy_page, in_words
from ttreg.explain.catalogue import Detail, Row
from ttreg.explain.limits import own_entries, short_name
from ttreg.measured import Errors, Figures, Measured, Measurement, SampleFigures, SpecialValue, SweepFigures
from ttreg.registry import registry
from ttreg.verification.figures import digest_of, marked, merged
from ttreg.verification.sweep import sweeps
from ttreg.verification.values import Compared, Sweep, Values
from ttreg.verification.values_file import Run
from ttreg.verification.verify import Verdict

aten = torch.ops.aten
RUN = Run(ttnn="0.81.1", on="a card", taken="2026-02-03")
ON = Measurement(on="a card", arch="wormhole_b0", ttnn="0.81.1", taken="2026-02-03")
FAMILIES = sorted({entry.family for entry in registry.matching((), "device")})


def verdict(sample=0, op="aten.erf.default", call="self=f32[5, 7]", error="", **values):
    given = {"call": call, "dtype": "float32", "status": "ok", "calls": "abc"} | values
    return Verdict(
        op=op, family="unary", arch="wormhole_b0", sample=sample, accepted=True, error=error, values=Values(**given)
    )


def output(**measures):
    usual = {"dtype": "float32", "shape": [3], "n": 3, "equal": False, "close": True, "pcc": 1.0}
    return Compared(**usual | measures)


def figures(op="aten.erf.default", dtype="float32", **parts):
    return Figures(op=op, dtype=dtype, **parts)


def known(*found):
    return Measured(runs=[ON], figures={(f.op, f.dtype): f for f in found})


def sample(**measures):
    return SampleFigures(**{"call": "a", "calls": "b"} | measures)


@pytest.fixture
def packaged(monkeypatch):
    """Has the package hold other figures."""

    def hold(*found):
        monkeypatch.setattr(measured, "packaged", lambda: known(*found))
        monkeypatch.setattr("ttreg.measured.packaged", lambda: known(*found))

    return hold


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_figures_are_of_the_calls_that_lowerings_make_now(family):
    ops = {str(entry.op) for entry in registry.matching((), "device") if entry.family == family}
    held = measured.packaged()
    of_family = Measured(runs=held.runs, figures={key: f for key, f in held.figures.items() if key[0] in ops})
    stale = [
        f"{f.op} {f.dtype}" for f, now in zip(of_family.figures.values(), marked(of_family), strict=True) if f != now
    ]
    assert not stale, "the lowerings have changed: run `ttreg limits --refresh`, then `ttreg docs`, and commit both"


def test_every_figure_is_of_an_entry_and_a_measurement():
    held = measured.packaged()
    ops = {str(entry.op) for entry in registry.matching((), "device")}
    assert {op for op, _ in held.figures} <= ops
    assert {f.run for f in held.figures.values()} <= set(range(len(held.runs)))
    assert len(held.figures) > 600


def test_another_lowering_outgrows_its_figures(replaced):
    held = measured.packaged().figures["aten.exp.default", "float32"]
    assert held.of_samples() is not None
    assert held.of_sweep() is not None
    replaced(aten.exp.default, lambda tt, self: tt.exp2(tt.multiply(self, 1.4426950408889634)))
    (now,) = marked(Measured(runs=measured.packaged().runs, figures={("aten.exp.default", "float32"): held}))
    assert now.of_samples() is now.of_sweep() is now.worst_relative() is None  # `replace` takes the samples away


def test_a_sample_whose_calls_change_leaves_the_others_their_figures():
    entry = registry.find(aten.exp.default)
    found = measured.packaged().figures["aten.exp.default", "float32"].model_copy(deep=True)
    found.samples.append(sample(call=found.samples[0].call, calls="others", max_rel=0.5))
    (now,) = marked(known(found))
    assert [s.changed for s in now.samples] == [False] * (len(now.samples) - 1) + [True]
    assert now.worst_relative() < 1e-6
    assert list(sweeps(entry, torch.float32))


def test_figures_are_the_worst_of_a_run():
    special = [SpecialValue(inputs=[str(n)], cpu="1", chip="2") for n in range(20)]
    sweep = Sweep(tried=37, differ=20, special=special, usual=Errors(max_rel=1.23456e-3), wide=None)
    made = merged(
        known(),
        RUN,
        [
            verdict(0, outputs=[output(max_rel=0.1), output(max_abs=0.2, pcc=0.5)]),
            verdict(1, outputs=[output(max_rel=0.3)]),
            verdict(None, sweep=sweep),
            verdict(2, status="unavailable", error="no chip"),
            verdict(3, status="hung", error="no answer within 3 s"),
            verdict(0, dtype="bfloat16", outputs=[output()]),
        ],
    )
    assert made.runs == [ON]
    found = made.figures["aten.erf.default", "float32"]
    assert [(s.max_rel, s.max_abs, s.pcc, s.failed) for s in found.samples] == [
        (0.1, 0.2, 0.5, ""),
        (0.3, 0.0, 1.0, ""),
        (0.0, 0.0, 1.0, "no answer within 3 s"),
    ]
    assert found.samples[0].call == digest_of("self=f32[5, 7]")
    assert (found.of_samples().max_rel, found.of_sweep().usual.max_rel, found.worst_relative()) == (0.3, 1.23e-3, 0.3)
    assert (found.sweep.tried, found.sweep.differ, found.sweep.special) == (37, 20, special[:8])
    assert set(made.figures) == {("aten.erf.default", "float32"), ("aten.erf.default", "bfloat16")}


def test_a_run_takes_the_place_of_what_it_measured_again():
    other = Measurement(on="a simulator", arch="wormhole_b0", ttnn="0.81.1", taken="2025-01-01")
    before = Measured(
        runs=[other],
        figures={
            ("aten.erf.default", "float32"): figures(
                samples=[sample(max_rel=1.0)], sweep=SweepFigures(call="a", calls="b")
            ),
            ("aten.exp.default", "float32"): figures("aten.exp.default", samples=[sample(max_rel=1.0)]),
        },
    )
    made = merged(before, RUN, [verdict(outputs=[output(max_rel=0.5)])])
    erf, exp = made.figures["aten.erf.default", "float32"], made.figures["aten.exp.default", "float32"]
    assert (erf.of_samples().max_rel, made.runs[erf.run]) == (0.5, ON)
    assert made.runs[erf.sweep.run] == made.runs[exp.run] == other
    assert merged(made, RUN, [verdict(outputs=[output()])]).runs == [other, ON]


def test_a_run_with_other_settings_makes_no_figures():
    with pytest.raises(TtregError, match="precision=bfloat16"):
        merged(known(), RUN.model_copy(update={"settings": {"precision": "bfloat16"}}), [verdict()])


def test_what_is_written_is_read_again_without_measurements_that_nothing_is_of(tmp_path):
    path = tmp_path / "figures.jsonl"
    unused = ON.model_copy(update={"on": "nothing"})
    of_second = figures(samples=[sample(max_rel=0.5)], run=1, sweep=SweepFigures(call="a", calls="b", run=1))
    measured.write(Measured(runs=[unused, ON], figures={("aten.erf.default", "float32"): of_second}), path)
    again = measured.read(path)
    assert again.runs == [ON]
    (found,) = again.figures.values()
    assert (found.run, found.sweep.run, found.samples) == (0, 0, of_second.samples)
    path.write_text("no figures")
    with pytest.raises(TtregError, match="no figures of ttreg's"):
        measured.read(path)


def test_the_command_takes_a_file_in(tmp_path, monkeypatch):
    values, path = tmp_path / "values.jsonl", tmp_path / "figures.jsonl"
    call = "self=f32[5, 7]"
    lines = [
        RUN,
        verdict(calls="of another lowering", outputs=[output()]),
        verdict(1, call=call, status="hung", calls=""),
    ]
    values.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    held = measured.packaged().figures["aten.erf.default", "float32"]
    monkeypatch.setattr(measured, "FILE", path)
    measured.write(known(), path)
    done = run("limits", "--from", str(values))
    assert done.exit_code == 0, done.output
    assert "2 figures of 1 ops; of 1 the lowering has changed" in done.stdout
    first, second = measured.read(path).figures["aten.erf.default", "float32"].samples
    assert (first.changed, second.changed) == (True, False)
    assert second.calls == held.samples[0].calls

    values.write_text("[]\n")
    before = path.read_text()
    for wrong in (values, tmp_path / "none.jsonl"):
        refused = run("limits", "--from", str(wrong))
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "--from" in refused.stderr
    assert path.read_text() == before


def test_show_says_what_was_measured_by_dtype(packaged):
    special = [SpecialValue(inputs=["nan"], cpu="nan", chip="1")]
    sweep = SweepFigures(
        call="a", calls="b", usual=Errors(max_rel=2e-3, max_abs=4e-3), tried=37, differ=9, special=special * 8
    )
    packaged(
        figures(samples=[sample(max_rel=1.5e-4, max_abs=3e-4), sample(changed=True, max_rel=7)], sweep=sweep),
        figures(dtype="bfloat16", samples=[sample(changed=True, max_rel=7)]),
    )
    shown = run("show", "erf").stdout
    for line in (
        "f32, 1 sample: worst relative error 0.00015, absolute 0.0003, PCC 1",
        "f32 on [-10, 10]: worst relative error 0.002, absolute 0.004",
        "f32, special values that differ (9 of 37): nan gives 1 (CPU nan); ",
        f"f32: 1 more {CHANGED.replace('its', 'their')}",
        f"bf16: {CHANGED}",
        "on a card (wormhole_b0), ttnn 0.81.1, 2026-02-03",
    ):
        assert f" {line}" in shown
    assert "7" not in shown.partition("accuracy")[2].partition("on a card")[0].replace("37", "").replace("7]", "")
    (one,) = TypeAdapter(list[Detail]).validate_json(run("show", "erf", "--json").stdout)
    assert {said.dtype: said.max_rel for said in one.accuracy} == {"float32": 1.5e-4, "bfloat16": None}


def test_show_says_what_was_not_measured(packaged):
    packaged()
    assert f"  accuracy       {NOT_MEASURED}\n" in run("show", "erf").stdout
    assert "accuracy" not in run("show", "nonzero").stdout  # the host's


def test_a_sample_without_values_is_told(packaged):
    packaged(figures(samples=[sample(failed="no answer within 3 s")]))
    assert list(in_words(*accuracy("aten.erf.default"))) == ["f32: a sample gave no values: no answer within 3 s"]
    assert "1 without values" in accuracy_page()


def test_list_filters_by_the_worst_relative_error_in_float32(packaged):
    of_sweep = SweepFigures(call="a", calls="b", usual=Errors(max_rel=0.5))
    packaged(
        figures("aten.erf.default", samples=[sample(max_rel=1e-3)]),
        figures("aten.exp.default", samples=[sample(max_rel=1e-7)], sweep=of_sweep),
        figures("aten.sin.default", samples=[sample(max_rel=1e-4)]),
        figures("aten.cos.default", samples=[sample(max_rel=1.0, changed=True)]),
        figures("aten.tan.default", dtype="bfloat16", samples=[sample(max_rel=1.0)]),
    )
    done = run("list", "--worse-than", "1e-4", "--json")
    rows = TypeAdapter(list[Row]).validate_json(done.stdout)
    assert [(row.op, row.f32_error) for row in rows] == [("aten.exp.default", 0.5), ("aten.erf.default", 1e-3)]
    assert "no figure in float32 that holds" in done.stderr
    lines = run("list", "--worse-than", "1e-4", "unary").stdout.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:]] == [
        ("aten.exp.default", "0.5"),
        ("aten.erf.default", "0.001"),
    ]
    assert run("list", "--worse-than", "0.9").exit_code == 1
    assert run("list", "--worse-than", "much").exit_code == 2
    assert all(row["f32_error"] is None for row in json.loads(run("list", "erf", "--json").stdout))


def test_the_page_has_every_entry_with_a_lowering_once():
    lines = [line for line in accuracy_page().splitlines() if line.startswith("| `")]
    wanted = [short_name(entry) for entry in own_entries() if entry.kind == "device"]
    assert sorted(line.split("`")[1] for line in lines) == sorted(wanted)
    page = accuracy_page(measured=known())
    assert page.count(NOT_MEASURED) == len(lines)


def test_integers_that_are_the_cpus_have_no_row_beside_others():
    def rows(*found):
        page = accuracy_page(measured=known(*found)).partition("| `neg`")[2].partition("| `")[0]
        return [line.replace(" ", "") for line in page.strip().splitlines() if line]

    of_floats = figures("aten.neg.default", samples=[sample(max_abs=0.5, max_rel=0.25)])
    of_integers = figures("aten.neg.default", "int32", samples=[sample()])
    assert rows() == ["|notmeasured||||||"]
    assert rows(of_integers) == ["|int32|1|0|0|1|||"]
    assert rows(of_floats, of_integers) == ["|float32|1|0.25|0.5|1|||"]
    wrong = figures("aten.neg.default", "int32", samples=[sample(max_abs=1.0, max_rel=1.0)])
    assert rows(of_floats, wrong) == ["|float32|1|0.25|0.5|1|||", "||int32|1|1|1|1|||"]
