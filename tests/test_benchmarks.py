"""Each benchmark runs, in a few rounds: what it measures is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
FEW = {
    "chip": ["--rounds", "2", "--programs", "2", "--passes", "2"],
    "min_upload": ["--rounds", "2"],
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


@pytest.mark.parametrize("name", FEW)
def test_it_prints_a_table(name):
    assert "┃" in printed(name)


def test_chip_prints_json():
    figures = json.loads(printed("chip", "--json").splitlines()[-1])
    assert figures["forward_passes"] == 2
    assert figures["dram_after_the_first_pass"] == figures["dram_after_the_last_pass"] > 0
    assert figures["dram_after_the_block"] == 0
