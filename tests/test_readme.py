"""The README stays true: its programs run, its commands work, its tables say what the code says."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ttreg import cli, measured
from ttreg.measured import Measured
from ttreg.report import Report
from ttreg.settings import Settings

ROOT = Path(__file__).parent.parent
# The README, and the pages that go on where it ends.
PAGES = ("README", "docs/settings", "docs/examples", "docs/reports", "docs/float32", "docs/registry", "docs/limits")
README = "\n".join((ROOT / f"{page}.md").read_text() for page in PAGES)
BIN = Path(sys.executable).parent


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    return [line for block in blocks("bash") for line in block.splitlines()]


def run(*command, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TTREG_", "PYTEST_"))}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment | variables, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def users_package(tmp_path_factory):
    """The README's entry in an installed package, as its entry point in the group ttreg.ops names it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_ops.py").write_text(next(block for block in blocks("python") if "@lower" in block))
    info = folder / "my_ops-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-ops\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ttreg.ops]\nmy_ops = my_ops\n")
    return str(folder)


def test_every_command_is_run_by_a_test_here():
    assert commands() == [
        *("make demo", "make test"),
        *("ttreg verify --values softmax --special --out values.jsonl", "ttreg limits --from values.jsonl"),
        "ttreg verify heaviside",
    ]


def test_the_program_runs_and_prints_a_report():
    program = next(block for block in blocks("python") if "device_mode" in block)
    done = run(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "aten.convolution.default" in done.stdout


def test_the_entry_is_verified_on_both_chips(users_package):
    done = run(str(BIN / "ttreg"), "verify", "heaviside", PYTHONPATH=users_package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 accepted samples passed, on wormhole_b0, blackhole" in done.stdout


def test_values_are_measured_and_taken_in(tmp_path, chip_for_workers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    measure, take_in = (line.split()[1:] for line in commands() if "values.jsonl" in line)
    done = CliRunner().invoke(cli.app, measure)
    assert done.exit_code == 0, done.output
    monkeypatch.setattr(measured, "FILE", tmp_path / "figures.jsonl")
    measured.write(Measured(runs=[], figures={}))
    taken = CliRunner().invoke(cli.app, take_in)
    assert taken.exit_code == 0, taken.output
    assert "of 0 the lowering has changed" in taken.stdout
    assert ("aten._softmax.default", "float32") in measured.read().figures


def test_make_demo_shows_both_programs(tmp_path):
    done = run("make", "demo", f"OUTPUT={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "faces.png").exists()


def test_make_test_runs_the_tests():
    # One small file of them: this is one of the tests.
    done = run("make", "test", "ARGS=tests/test_null_kernel.py", "WORKERS=0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_every_keyword_is_in_the_table_with_its_default():
    table = README.partition("| keyword | values | default |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", table, re.MULTILINE))
    assert list(rows) == [field.name for field in dataclasses.fields(Settings)]
    for field in dataclasses.fields(Settings):
        default = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
        assert default in rows[field.name]


def test_the_report_shown_has_the_form_of_a_report():
    shown = blocks("text")[0]
    for heading in ("on the device", "on the host, and why", "uploads", "weights", "downloads"):
        assert heading in shown
    for heading in ("ttnn calls", "programs", "device memory", "device time", "new programs of the device"):
        assert heading in shown
    parts = {"device", "ops", "transfers", "totals", "device_calls", "programs", "cost", "buckets", "trace"}
    assert set(Report.model_fields) == parts | {"checked", "recorded", "lines", "rank", "ranks", "overrides"}
