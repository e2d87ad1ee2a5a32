"""The calls and models of the tables: samples of them agree with CPU, and the pages say what was found."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ttreg.coverage.variations import variation
from ttreg.registry import registry

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"


def ran(name: str, folder: Path, *arguments: str) -> dict:
    """What a tool writes, in a process of its own, for its workers open mocked chips."""
    ways = {"records": "records.jsonl", "json": "found.json", "page": "page.md"}
    given = [part for way, file in ways.items() for part in (f"--{way}", str(folder / file))]
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments, *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.fixture
def tool(monkeypatch):
    """Loads a part of the tools."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return lambda name: runpy.run_path(str(BENCHMARKS / f"{name}.py"))


def test_a_sample_of_the_calls_agrees_with_cpu(tmp_path):
    found = ran("coverage", tmp_path, "--sample", "60", "--seed", "5", "--largest", "60000")
    assert found["totals"]["calls"] == 60
    assert found["totals"]["wrong"] == found["totals"]["error"] == found["totals"]["untried"] == 0
    assert found["totals"]["device"] > 45
    assert "## By op" in (tmp_path / "page.md").read_text()


def test_a_run_goes_on_where_it_was_ended_and_tries_again_what_is_asked_for(tmp_path):
    calls = tmp_path / "calls.jsonl"
    tensor = {"shape": [4, 4], "dtype": "float32"}
    lines = [
        {"op": "aten.relu.default", "args": {"self": tensor}},
        {"op": "aten.relu.default", "args": {"self": tensor | {"dtype": "float64"}}},
        {"op": "aten.relu.default", "args": {"self": tensor | {"shape": [4, 5]}}},
    ]
    calls.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = ran("coverage", tmp_path, str(calls))
    assert (found["totals"]["device"], found["totals"]["host"]) == (2, 1)
    records = (tmp_path / "records.jsonl").read_text().splitlines()
    (tmp_path / "records.jsonl").write_text(f"{records[0]}\n{records[1]}\n{records[2][:20]}")  # ended while it wrote
    again = ran("coverage", tmp_path, str(calls), "--resume", "--again", "host")
    assert again["totals"] == found["totals"]
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 4


def test_models_run_on_the_device_and_in_training(tmp_path):
    found = ran("model_table", tmp_path, "--only", "Autoencoder (linear)", "Mnist-train", "GCN*")
    models = {(model["name"], model["mode"]): model for model in found["models"]}
    assert set(models) == {
        ("Autoencoder (linear)", "eval"),
        ("Mnist-train", "train"),
        ("GCN", "eval"),
        ("GCN", "train"),
    }
    for model in models.values():
        assert model["output_pcc"] > 0.999
        assert model["new_programs"] == 0
        assert model.get("gradient_pcc", 1.0) > 0.999
    linear = models["Autoencoder (linear)", "eval"]
    assert (linear["host_float"], linear["uploads"], linear["weight_uploads"], linear["downloads"]) == (0, 1, 0, 1)


def test_a_result_of_another_scale_or_with_an_offset_is_wrong(tool):
    off, x = tool("_trying")["off"], torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert not off(x, x, 1.0)
    assert not off(x * 1.001, x, 1.0)
    assert "by the norm" in off(2 * x, x, 1.0)
    assert "by the norm" in off(x + 1, x, 1.0)
    assert "PCC" in off(x, x, 0.9)


def test_a_wrong_lowering_is_found(tool, monkeypatch):
    line, tried = tool("_calls")["Line"], tool("_trying")["tried"]
    call = line(1, "aten.relu.default", {"self": {"shape": [8, 8], "dtype": "float32"}})
    quick = {"validate": False}  # a mocked chip would belong to this process for good
    assert tried(call, quick)["outcome"] == "device"
    relu = registry.find(torch.ops.aten.relu.default)
    monkeypatch.setitem(vars(relu), "function", lambda tt, self: tt.abs(self))
    assert tried(call, quick)["outcome"] == "wrong"
    monkeypatch.setitem(vars(relu), "function", lambda tt, self: tt.relu())
    assert tried(call, quick)["outcome"] == "error"


def test_moved_numbers_have_to_be_equal(tool, monkeypatch):
    line, tried = tool("_calls")["Line"], tool("_trying")["tried"]
    tensor = {"shape": [8, 8], "dtype": "float32"}
    call = line(1, "aten.cat.default", {"tensors": [tensor, tensor]})
    assert tried(call, {"validate": False})["outcome"] == "device"
    cat = registry.find(torch.ops.aten.cat.default)
    right = cat.function
    monkeypatch.setitem(vars(cat), "function", lambda tt, tensors, dim: tt.multiply(right(tt, tensors, dim), 1.00001))
    assert tried(call, {"validate": False})["outcome"] == "wrong"


def test_values_suit_their_ops(tool):
    values_for, said = tool("_inputs")["values_for"], variation
    vector, image = {"shape": [4], "dtype": "float32"}, {"shape": [2, 4, 5, 5], "dtype": "float32"}
    args = dict.fromkeys(("running_mean", "running_var", "weight", "bias"), vector)
    call = {"op": "aten._native_batch_norm_legit_no_training.default"}
    values = values_for(said(1, call | {"args": {**args, "input": image, "momentum": 0.1, "eps": 1e-5}}), "ab12")
    assert values["running_var"].min() > 0
    rows = {"weight": {"shape": [7, 3], "dtype": "float32"}, "indices": {"shape": [50], "dtype": "int64"}}
    values = values_for(said(1, {"op": "aten.embedding.default", "args": rows}), "ab12")
    assert (values["indices"].min(), values["indices"].max()) == (0, 6)
    again = values_for(said(1, {"op": "aten.embedding.default", "args": rows}), "ab12")
    assert torch.equal(values["weight"], again["weight"])


@pytest.mark.parametrize(
    ("part", "found", "text"),
    [("_coverage_page", "variations.json", "variations.md"), ("_models_page", "model_table.json", "models.md")],
)
def test_the_pages_say_what_was_found(tool, part, found, text):
    written = json.loads((BENCHMARKS / "results" / found).read_text())
    assert tool(part)["page"](written) == (ROOT / "docs" / text).read_text()


def test_every_call_of_the_published_tables_is_on_the_page(tool):
    lines = tool("_calls")["read_lines"](BENCHMARKS / "data" / "variations.jsonl.xz")
    found = json.loads((BENCHMARKS / "results" / "variations.json").read_text())
    assert found["totals"]["calls"] == len({line.key for line in lines}) == 9698
    assert found["totals"]["wrong"] == found["totals"]["error"] == 0


def test_every_model_of_the_tables_is_on_the_page(tool):
    rows = tool("_zoo")["rows"]
    found = json.loads((BENCHMARKS / "results" / "model_table.json").read_text())
    assert [(m["name"], m["mode"]) for m in found["models"]] == [
        (row.name, row.mode) for table in ("seed", "current") for row in rows(table)
    ]
    modes = [row.mode for row in rows("seed")]
    assert modes.count("eval") >= 60
    assert modes.count("train") >= 20
    assert len({row.name for row in rows("current")}) >= 40
