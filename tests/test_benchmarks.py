"""Each benchmark runs, in a few rounds: what it measures is not looked at."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ttreg.devices import open_device
from ttreg.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
FEW = {
    "chip": ["--rounds", "2", "--programs", "2", "--passes", "2", "--warm"],
    "coverage": ["--largest", "100000"],
    "decoding": ["GPT-2, mocked chip", "--tokens", "3"],
    "distributed": ["--ranks", "2", "--steps", "1", "--ways", "DDP"],
    "exact": ["MTCNN's networks"],
    "flat": ["--live", "50", "--ops", "200", "--signatures", "20"],
    "handwritten": ["--only", "Llama, 32 tokens", "--small", "--rounds", "2"],
    "min_upload": ["--rounds", "2"],
    "model_table": ["--only", "Autoencoder (linear)", "Mnist-train", "GCN*"],
    "models": ["MTCNN's networks", "--rounds", "2"],
    "numerics": ["LSTM cell, two steps"],
    "overhead": ["add", "view", "--rounds", "2", "--no-symbiote"],
    "parts": ["--rounds", "2"],
    "replay": ["training step", "--rounds", "2"],
    "startup": ["--rounds", "1"],
    "weights": ["--mib", "128", "--rounds", "1", "--devices", "emulated", "--dtypes", "bfloat8_b", "--json"],
    "varying_sizes": ["--detector", "yolo", "--images", "12"],
}


def printed(name: str, *arguments: str) -> str:
    """What the benchmark prints, in a process of its own, for it opens a mocked chip."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TTREG_", "TT_METAL"))}
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *FEW[name], *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_is_among_them():
    assert {path.stem for path in BENCHMARKS.glob("*.py") if not path.stem.startswith("_")} == set(FEW)


def test_numerics_foretells_what_was_measured():
    for errors in json.loads(printed("numerics", "--json").splitlines()[-1])["LSTM cell, two steps"].values():
        assert 0.75 < errors["ratio"] < 1.35


def test_exact_counts_the_calls_of_both_settings():
    [counts] = json.loads(printed("exact", "--json")).values()
    assert counts["exact"]["calls"] > counts["fast"]["calls"] > 0
    assert counts["fast"]["refused"] == 0


def test_decoding_counts_the_programs_of_each_token():
    [found] = json.loads(printed("decoding", "--json").splitlines()[-1])["cases"].values()
    assert len(found["steps"]) == 3
    assert found["steps"][0] == found["first_token"]
    assert found["prompt"] > found["again"]
    assert sum(found["calls"].values()) == sum(found["steps"][1:]) == 2 * found["per_token"]


def test_replay_measures_a_recorded_function():
    [found] = json.loads(printed("replay", "--json").splitlines()[-1])["programs"].values()
    assert found["replays"] > 2, found["reasons"]
    assert found["ttnn_calls"] > 50
    assert min(found["ratios"].values()) > 0


def test_handwritten_measures_both_ways():
    figures = json.loads(printed("handwritten", "--json").splitlines()[-1])
    for dtype, found in figures["models"]["Llama, 32 tokens"].items():
        for way in ("ttreg", "hand-written"):
            assert sum(found[way]["calls"].values()) == found[way]["ttnn_calls"]
            assert found[way]["first_programs"] > found[way]["programs_per_token"] >= found[way]["later_programs"] == 0
            assert found[way]["most_dram_bytes"] > 2**20
            assert found["milliseconds"][way] > 0
        assert found["hand-written"]["programs_per_token"] == 0  # its cache is as long as it will be
        assert figures["median"][dtype] == found["ratios"]


@pytest.fixture
def by_hand(monkeypatch):
    """The benchmark of hand-written models, as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("handwritten")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["BERT-base", "ViT-B/16", "ResNet-50", "GPT-2, 32 tokens", "Llama, 32 tokens"])
def test_a_hand_written_model_computes_what_pytorch_does(name, dtype, by_hand):
    device = open_device(Settings(device="emulated"))
    torch.manual_seed(0)
    with torch.no_grad():
        pair = by_hand.PAIRS[name](True)
        assert by_hand.held_to_pytorch(pair, dtype, device)["correlation"] > 0.999
        outputs = pair.program.outputs
        other = replace(pair.program, outputs=lambda *inputs: [output.flip(-1) for output in outputs(*inputs)])
        with pytest.raises(AssertionError, match="correlation"):
            by_hand.held_to_pytorch(replace(pair, program=other), dtype, device)


def test_min_upload_prints_a_table():
    assert "elements" in printed("min_upload")


def test_startup_prints_a_table():
    assert "ttreg list add" in printed("startup")


def test_varying_sizes_prints_json():
    figures = json.loads(printed("varying_sizes", "--json").splitlines()[-1])
    assert figures["last_over_first"] > 0
    assert figures["tensors_of_the_device_after_12"] == 0
    assert figures["storages_with_uploads_after_10"] > 0
    assert figures["plans"] > 100


def test_overhead_prints_json_and_draws(tmp_path):
    figures = json.loads(printed("overhead", "--json", "--plot", str(tmp_path / "overhead.svg")).splitlines()[-1])
    add, view = figures["ops"]["add"], figures["ops"]["view"]
    assert add["ttnn_calls"] == view["ttnn_calls"] == 1  # the recorded calls are those of one op
    assert min(add["microseconds"].values()) > 0
    assert add["ratios"].keys() == figures["median"].keys()
    assert "ttreg, unread" in view["microseconds"]
    assert (tmp_path / "overhead.svg").read_text().startswith("<?xml")


def test_flat_prints_json():
    figures = json.loads(printed("flat", "--json").splitlines()[-1])
    assert figures["signatures"] == 20
    assert min(figures[name] for name in ("before", "after 200 ops", "with 50 live tensors")) > 0


def test_models_prints_json_and_draws(tmp_path):
    figures = json.loads(printed("models", "--json", "--plot", str(tmp_path / "models.svg")).splitlines()[-1])
    found = figures["models"]["MTCNN's networks"]
    assert found["ttnn_calls"] > 100
    second = found["second_forward"]
    assert second["uploads"] == found["inputs"] == 3
    assert second["downloads"] == found["outputs_read"] == 7
    assert second["weight_uploads"] == 0
    assert found["most_dram_bytes"] > found["first_forward"]["weight_upload_bytes"]
    assert figures["median"] == found["ratios"]
    assert (tmp_path / "models.svg").read_text().startswith("<?xml")


def test_parts_are_printed():
    found = json.loads(printed("parts", "--json").splitlines()[-1])
    assert min([*found["parts"].values(), *found["cold"].values()]) > 0
    assert found["parts"].keys() > found["cold"].keys()


def test_chip_prints_json():
    figures = json.loads(printed("chip", "--json").splitlines()[-1])
    assert figures["forward_passes"] == 2
    assert figures["dram_after_the_first_pass"] == figures["dram_after_the_last_pass"] > 0
    assert figures["dram_after_the_block"] == 0


def test_chip_prints_a_table(monkeypatch, capsys):
    run = runpy.run_path(str(BENCHMARKS / "chip.py"))
    monkeypatch.setitem(run["main"].__globals__, "measure", lambda *_: {"direct_add_us": 12.345, "passes": 1000})
    run["main"](["--warm"])
    shown = capsys.readouterr().out
    assert "direct add us" in shown
    assert "12.35" in shown
    assert "1,000" in shown


def test_weights_measures_with_and_without_the_cache(monkeypatch, capsys):
    run = runpy.run_path(str(BENCHMARKS / "weights.py"))
    names = run["main"].__globals__
    monkeypatch.setitem(names, "SIZE", 128)
    monkeypatch.setitem(names, "in_a_process", lambda path, *rest: names["measure"](str(path), *rest))
    monkeypatch.setattr(sys, "argv", ["weights.py", *FEW["weights"]])
    run["main"]()
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["loads"].values()
    assert min(found[way] for way in ("anew", "first", "cached", "faster")) > 0
    assert found["mib"].keys() == {"anew", "first", "cached"}


def test_the_page_of_results_says_what_was_measured():
    written = runpy.run_path(str(ROOT / "scripts" / "performance.py"))
    text = (ROOT / "docs" / "performance.md").read_text()
    assert written["page"](text) == text
    for name in ("overhead", "models"):
        assert f"](performance-{name}.svg)" in text
        assert (ROOT / "docs" / f"performance-{name}.svg").stat().st_size < 150_000


def test_families_have_the_medians_of_calls_that_did_not_fail():
    written = runpy.run_path(str(ROOT / "scripts" / "performance.py"))

    def row(time: float, error: str = "") -> dict[str, object]:
        return {"family": "binary", "error": error} | {way: {"microseconds": time} for way in written["WAYS"]}

    run = {"machine": {}, "rounds": 1, "rows": [row(1.0), row(2.0), row(9.0), row(100.0, "RuntimeError: no")]}
    found = written["families"](run)
    assert found["families"] == {"binary": {"calls": 3, "cpu": 2.0, "host": 2.0, "emulated": 2.0, "mock": 2.0}}
