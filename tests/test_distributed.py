"""Trainings on several ranks, a device each: the losses of one process, local work on the devices, no endless wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from ttreg import cli
from ttreg.report import Shown

ROOT = Path(__file__).parent.parent


def run(*arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TTREG_", "PYTEST_"))}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_ranks_train_as_one_process_does(tmp_path):
    result = json.loads(run(ROOT / "benchmarks/distributed.py", "--ranks", "2", "--steps", "2", "--json", cwd=tmp_path))
    promises = result["promises"]
    assert len(promises) == 6
    assert all(promise["kept"] for promise in promises), promises
    assert all(row["KiB down"] > row["of it for the group"] >= 0 for row in result["tables"][0]["rows"])


def test_the_example_under_torchrun(tmp_path, monkeypatch):
    example = ROOT / "examples/distributed.py"
    output = run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", example, cwd=tmp_path)
    assert "rank 0 of 2" in output
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["report", "rank0.json", "rank1.json", "--json"])
    assert done.exit_code == 0, done.output
    report = Shown.model_validate_json(done.stdout).report
    assert [row.rank for row in report.ranks] == [0, 1]
    assert report.totals.host_float <= 0.05 * report.totals.device
