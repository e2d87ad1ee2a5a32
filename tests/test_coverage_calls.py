"""`ttreg coverage` of a file of calls."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ttreg import cli
from ttreg.coverage.measure import Coverage, cover_calls
from ttreg.coverage.targets import TargetError
from ttreg.coverage.variations import read
from ttreg.settings import Settings

ROOT = Path(__file__).parent.parent


def coverage(*arguments):
    return CliRunner().invoke(cli.app, ["coverage", *arguments])


def placed(coverage):
    return {row.op.split(".")[1]: row.placement for row in coverage.ops}


def test_a_file_of_calls():
    done = coverage(str(ROOT / "examples" / "calls.jsonl"), "--json")
    assert done.exit_code == 0, done.stderr
    said = Coverage.model_validate_json(done.stdout)
    assert said.skipped == []
    assert placed(said) == {
        "convolution": "device",
        "addmm": "device",
        "linear": "device",
        "masked_fill": "device",
        "_to_copy": "device",
        "view": "view",
        "cumsum": "host",
        "nonzero": "host",
    }
    assert {r.op: r.got for r in said.refusals}["aten.cumsum.default"] == ["int64"]


def test_calls_that_pytorch_refuses_are_skipped_and_told(tmp_path):
    matrix = {"shape": [2, 3], "dtype": "float32"}
    lines = [
        {"op": "aten.no_such_op.default", "args": {}},
        {"op": "aten.mm.default", "args": {"self": matrix, "mat2": matrix}},
        {"op": "aten.relu.default", "args": {"self": matrix}},
    ]
    (tmp_path / "calls.jsonl").write_text("\n\n".join(map(json.dumps, lines)))
    done = coverage(str(tmp_path / "calls.jsonl"))
    assert done.exit_code == 0
    assert "line 1 is not counted: no op is named 'aten.no_such_op.default'" in done.stdout
    assert re.search(r"line 3 is not counted: aten.mm.default: .*cannot be multiplied \(2x3 and 2x3\)", done.stdout)
    assert "1 calls: 1 on the device" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: Expecting"),
        ("[]", 'it is no object with "op" and "args"'),
        ('{"op": "relu", "args": {}}', "relu names no overload; it has default, out"),
        ('{"op": "aten.relu.default", "args": {"self": {"shape": [2]}}}', 'a tensor has "shape"'),
        ('{"op": "aten.relu.default", "args": {"self": {"shape": [-2], "dtype": "float32"}}}', 'a tensor has "shape"'),
        ('{"op": "aten.relu.default", "args": {"self": {"dtype": "float33"}}}', "neither a tensor"),
        ('{"op": "aten.relu.default", "args": {"self": {"device": "moon"}}}', "moon"),
        (
            '{"op": "aten.relu.default", "args": {"self": {"shape": [1' + "0" * 30 + '], "dtype": "float32"}}}',
            "no tensor",
        ),
        ('{"op": "aten.relu.default", "args": {"self": ' + "[" * 2000, "line 1: "),
        ('{"op": "\udc80"}', "line 1: 'utf-8' codec can't decode"),
    ],
)
def test_a_line_that_is_no_call_is_bad_usage(tmp_path, line, said):
    (tmp_path / "calls.jsonl").write_bytes(line.encode(errors="surrogateescape"))
    with pytest.raises(TargetError, match=re.escape(said)):
        list(read(tmp_path / "calls.jsonl"))
    done = coverage(str(tmp_path / "calls.jsonl"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_min_share_of_no_calls_is_a_no(tmp_path):
    (tmp_path / "calls.jsonl").write_text("")
    done = coverage(str(tmp_path / "calls.jsonl"), "--min-share", "0")
    assert done.exit_code == 1
    assert "no share, as no call counts" in done.stderr


def test_refusals_are_ranked_by_calls_and_then_by_bytes(tmp_path):
    def call(size, dtype, op="aten.relu.default"):
        return json.dumps({"op": op, "args": {"self": {"shape": [size], "dtype": dtype}}})

    lines = [
        call(9, "float64"),
        call(10, "float16"),
        call(90, "float64", "aten.sin.default"),
        call(3, "float16", "aten.cos.default"),
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(lines))
    ranked = cover_calls("calls", read(tmp_path / "calls.jsonl"), Settings()).refusals
    assert [(r.op, r.count, r.bytes, sorted(r.got)) for r in ranked] == [
        ("aten.relu.default", 2, 92, ["float16", "float64"]),
        ("aten.sin.default", 1, 720, ["float64"]),
        ("aten.cos.default", 1, 6, ["float16"]),
    ]
