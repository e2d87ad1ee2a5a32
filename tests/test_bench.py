"""Benchmarks of ops: which calls are measured, what is recorded of ttnn, and what counts as a change; no time is."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from itertools import count

import pytest
import torch
from torch._ops import OpOverload
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.bench import calls, compare, ops, timing
from ttreg.bench.floor import Wrapped
from ttreg.bench.ops import Benchmark, Row, Time
from ttreg.bench.recording import Recorder
from ttreg.bench.rehearsal import Performance, Rehearsal
from ttreg.bench.timing import Way
from ttreg.meta import meta_of
from ttreg.notation import read
from ttreg.registry import Entry, registry

runner = CliRunner()


def entry(op: OpOverload) -> Entry:
    found = registry.find(op)
    assert found is not None
    return found


# Timing


def test_each_call_has_arguments_of_its_own_and_runs_under_what_it_is_to():
    from contextlib import contextmanager

    numbers, events = count(), []

    @contextmanager
    def block():
        events.append("in")
        yield
        events.append("out")

    way = Way(lambda number: events.append(number), lambda: (next(numbers),), block)
    taken = timing.interleaved({"way": way}, rounds=1, calls=2)
    assert len(taken["way"]) == 1
    assert events == ["in", 0, 1, "out", "in", 2, 3, "out"]  # the first round is not counted


def test_ways_are_taken_in_turn():
    order: list[str] = []
    ways = {name: Way(lambda name=name: order.append(name)) for name in "abc"}
    taken = timing.interleaved(ways, rounds=20)
    rounds = ["".join(order[first : first + 3]) for first in range(0, len(order), 3)]
    assert {"".join(sorted(names)) for names in rounds} == {"abc"}
    assert {names[0] for names in rounds} == set("abc")  # none always follows the same one
    assert list(taken) == list("abc")


def test_a_ratio_is_of_the_same_round():
    assert timing.median_ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == 2.0


def test_the_spread_is_the_quartiles_distance_over_the_median():
    assert timing.spread([1.0]) == 0.0
    assert timing.spread([1.0, 2.0, 3.0]) == 1.0


# Recording


class OfTtnn:
    """As a ttnn tensor shows itself."""

    layout = memory_config = None


def test_recorded_calls_are_made_again_and_their_tensors_die_where_they_died():
    log: list[str] = []
    alive: weakref.WeakSet[OfTtnn] = weakref.WeakSet()

    def make(name: str, *inputs: object) -> OfTtnn:
        log.append(f"{name} of {len(inputs)}, {len(alive)} alive")
        alive.add(made := OfTtnn())
        return made

    recorder = Recorder()
    call = recorder.recorded(make)

    def program() -> None:
        first = call("first")
        second = call("second", first, 1)
        del first
        call("third", [second], second)

    program()
    assert recorder.calls == 0  # it was not on
    log.clear()
    program()
    expected = ["first of 0, 0 alive", "second of 2, 1 alive", "third of 2, 1 alive"]
    assert log == expected
    with recorder.on():
        program()
    replay = recorder.replay()
    log.clear()
    replay()
    assert log == expected
    assert not alive
    assert recorder.calls == 3


def test_calls_that_a_recorded_call_makes_are_its_own_affair():
    recorder = Recorder()
    inner = recorder.recorded(lambda: None)
    outer = recorder.recorded(lambda: inner())
    with recorder.on():
        outer()
    assert recorder.calls == 1


def test_tensors_from_before_are_constants_and_several_results_are_told_apart():
    recorder, before, seen = Recorder(), OfTtnn(), []
    pair = recorder.recorded(lambda x: (OfTtnn(), [OfTtnn()]))
    use = recorder.recorded(lambda x, *, other: seen.append((type(x), other is before)))
    with recorder.on():
        _, [last] = pair(before)
        use(last, other=before)
    seen.clear()
    recorder.replay()()
    assert seen == [(OfTtnn, True)]


# Rehearsing


def test_a_rehearsed_program_computes_nothing_and_gets_what_it_got():
    weight = torch.nn.Parameter(torch.rand(4, 3))

    def program(x: torch.Tensor) -> list[object]:
        y = torch.nn.functional.linear(x, weight).relu_()
        left, right = y.split(2, dim=1)
        return [y, left, right, bool(right.sum() > 100), torch.native_layer_norm(y, (4,), None, None, 1e-5)[2]]

    rehearsal, x = Rehearsal(), torch.rand(5, 3)
    with torch.no_grad(), rehearsal:
        expected = program(x)
    for _ in range(2):
        with torch.no_grad(), Performance(rehearsal):
            got = program(Wrapped.around(None, meta_of(x)))
        assert [type(value) for value in got] == [Wrapped, Wrapped, Wrapped, bool, Wrapped]
        for one, other in zip(got, expected, strict=True):
            if isinstance(other, torch.Tensor):
                assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())
    assert torch._C._storage_Use_Count(weight.untyped_storage()._cdata) == 2  # nothing of it is kept
    with torch.no_grad(), Performance(rehearsal), pytest.raises(RuntimeError, match="in the rehearsal"):
        Wrapped.around(None, meta_of(x)).exp()


# Calls


def test_the_calls_of_real_models_are_of_ops_that_have_a_lowering_and_can_be_read():
    real = calls.real_shapes()
    lowered = {str(found.op) for found in registry.matching((), "device")}
    assert len(real) > 80
    assert real.keys() <= lowered
    for texts in real.values():
        for text in texts:
            assert read(text)[1]


def test_an_entry_has_its_samples_and_real_calls():
    softmax = entry(torch.ops.aten._softmax.default)
    samples = [source for source, _ in calls.calls(softmax, "samples")]
    both = [source for source, _ in calls.calls(softmax, "both")]
    assert both == [*samples, *("real" for _ in calls.real_shapes()["aten._softmax.default"])]


def test_a_call_is_described_as_why_takes_it():
    add = entry(torch.ops.aten.add.Tensor)
    sample = ttreg.samples.Sample(torch.rand(2, 3), torch.rand(3), alpha=2)
    assert calls.described(add, sample) == "self=f32[2, 3], other=f32[3], alpha=2"


def test_only_calls_that_the_conditions_accept_are_chosen():
    cumsum = entry(torch.ops.aten.cumsum.default)
    accepted = ops.chosen(["cumsum"], "samples")
    assert 0 < len(accepted) < len(list(cumsum.samples()))
    assert all(sample.args[0].dtype is not torch.float64 for _, _, sample in accepted)


# Measuring

OWN = """
import torch
from ttreg import lower
from ttreg.bench.ops import chosen, measure
from ttreg.conditions import FLOATS, Dtype
from ttreg.samples import Sample, rand

library = torch.library.Library("own", "DEF")
library.define("twice(Tensor self) -> Tensor")
library.impl("twice", lambda self: self + self, "CompositeExplicitAutograd")

@lower(torch.ops.own.twice.default, samples=lambda: [Sample(rand(8, 64))], takes=FLOATS)
def twice(tt, self):
    return tt.add(self, self)

for row in measure([*chosen(["own.twice"], "both"), *chosen(["aten.erfc"], "samples")[:1]], "blackhole", 2):
    print(row.model_dump_json())
"""


def test_ops_are_measured_each_way_and_a_users_own_too(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(OWN)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [Row.model_validate_json(line) for line in done.stdout.splitlines()]
    assert [(row.op, row.error) for row in rows] == [("own.twice.default", ""), ("aten.erfc.default", "")]
    for way in ops.WAYS:
        times = [getattr(row, way) for row in rows]
        assert all(time.microseconds > 0 for time in times)


# What changed


def row(**microseconds: float) -> Row:
    times = {way: Time(microseconds=value, spread=0.02) for way, value in microseconds.items()}
    row = Row(op="aten.add.Tensor", family="binary", shapes="samples", call="self=f32[2]")
    return row.model_copy(update=times)


def benchmark(*rows: Row) -> Benchmark:
    return Benchmark(machine={}, arch="wormhole_b0", rounds=1, rows=list(rows))


def test_a_machine_that_is_twice_as_slow_changes_nothing():
    before, now = row(cpu=1, host=3, emulated=5, mock=7), row(cpu=2, host=6, emulated=10, mock=14)
    assert compare.changes(benchmark(before), benchmark(now)) == []


def test_changes_beyond_noise_are_found_the_worst_first():
    before, now = row(cpu=1, host=3, emulated=5, mock=7), row(cpu=1, host=1.5, emulated=10, mock=7.5)
    found = compare.changes(benchmark(before), benchmark(now))
    assert [(change.way, change.factor) for change in found] == [("emulated", 2.0), ("host", 0.5)]


def test_a_change_within_the_spread_is_noise():
    before, now = row(cpu=1, host=3), row(cpu=1, host=4)
    assert now.host is not None
    now.host.spread = 0.5
    assert compare.changes(benchmark(before), benchmark(now)) == []


# The command


@pytest.fixture
def measured(monkeypatch):
    """What `measure` finds, in place of a mocked chip."""
    found = [row(cpu=1, host=3, emulated=5, mock=7)]
    monkeypatch.setattr(ops, "measure", lambda calls, arch, rounds: iter(found))
    return found


def test_the_command_prints_a_table(measured):
    done = runner.invoke(cli.app, ["bench", "add.Tensor"])
    assert done.exit_code == 0
    assert "self=f32[2]" in done.stdout
    assert "7.0 ±1%" in done.stdout


def test_the_command_compares_with_its_own_json_and_draws(measured, tmp_path):
    before, plot = tmp_path / "before.json", tmp_path / "plot.svg"
    before.write_text(runner.invoke(cli.app, ["bench", "add.Tensor", "--json"]).stdout)
    assert json.loads(before.read_text())["rows"][0]["mock"]["microseconds"] == 7
    measured[0] = row(cpu=1, host=3, emulated=5, mock=14)
    done = runner.invoke(cli.app, ["bench", "add.Tensor", "--compare", str(before), "--plot", str(plot)])
    assert done.exit_code == 0
    assert "× 2.00" in done.stdout
    assert "1 changes beyond noise in 1 calls" in done.stdout
    assert plot.read_text().startswith("<?xml")


def test_a_call_that_fails_is_shown_and_is_the_exit_code(measured):
    measured.append(Row(op="aten.add.Tensor", family="binary", shapes="real", call="", error="DeviceError: no"))
    done = runner.invoke(cli.app, ["bench", "add.Tensor"])
    assert done.exit_code == 1
    assert "DeviceError: no" in done.stdout
    assert "1 of 2 calls failed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cumsm"], "no lowering or family is named cumsm; ops that are spelt like it: cumsum"),
        (["aten.nonzero"], "aten.nonzero.default has no lowering: ttreg show aten.nonzero says why"),
        (["--shapes", "odd"], "expected samples, real or both"),
        (["--arch", "grayskull"], "expected wormhole_b0 or blackhole"),
        (["add.Tensor", "--compare", "no/such.json"], "cannot read no/such.json"),
        (["aten.erfc", "--shapes", "real"], "no call of aten.erfc that runs on the device"),
    ],
)
def test_bad_usage_says_what_was_expected(arguments, said, measured):
    done = runner.invoke(cli.app, ["bench", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in done.stderr


def test_what_is_no_run_of_it_is_not_compared(measured, tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")
    done = runner.invoke(cli.app, ["bench", "add.Tensor", "--compare", str(other)], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "is not what ttreg bench --json prints" in done.stderr


@pytest.mark.parametrize("name", ["plot.foo", "plot", "no-folder/plot.svg"])
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_measured(monkeypatch, tmp_path, name):
    monkeypatch.setattr("ttreg.bench.ops.measure", lambda *of: pytest.fail("measured"))
    done = CliRunner().invoke(cli.app, ["bench", "add.Tensor", "--plot", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "--plot" in done.stderr
