"""`ttreg coverage --save` and `--compare`, and the GitHub action that runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from ttreg import cli

ROOT = Path(__file__).parent.parent
MODEL = """
import torch
from torch import nn


class Head(nn.Module):
    def __init__(self, double):
        super().__init__()
        self.layer, self.double = nn.Linear(64, 64), double

    def forward(self, x):
        x = self.layer(x).relu()
        return x.double().softmax(-1) if self.double else x.softmax(-1)


def good():
    return Head(False), torch.randn(64, 64)


def worse():
    return Head(True), torch.randn(64, 64)


def stops():
    head = Head(False)
    return (lambda x: head(x) if head(x).sum().item() > 0 else x), torch.randn(64, 64)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def coverage(*arguments):
    return CliRunner().invoke(cli.app, ["coverage", *arguments])


def test_what_got_worse_is_told_and_fails_where_that_is_asked(folder):
    assert coverage("models.py:good", "--save", "base.json").exit_code == 0
    same = coverage("models.py:good", "--compare", "base.json", "--fail-on-regression")
    assert same.exit_code == 0
    assert "ran before" in same.output
    told = coverage("models.py:worse", "--compare", "base.json")
    assert told.exit_code == 0
    assert re.search(r"worse .*before", told.output)
    assert "floating-point calls on the device" in told.output
    failed = coverage("models.py:worse", "--compare", "base.json", "--fail-on-regression")
    assert failed.exit_code == 1
    assert "something is worse than in base.json" in failed.output
    better = coverage("models.py:worse", "--save", "worse.json", "--compare", "base.json")
    assert better.exit_code == 0
    assert coverage("models.py:good", "--compare", "worse.json", "--fail-on-regression").exit_code == 0


def test_a_program_that_is_no_longer_followed_is_worse(folder):
    coverage("models.py:good", "--save", "base.json")
    found = coverage("models.py:stops", "--compare", "base.json", "--json")
    first = json.loads(found.stdout)["difference"]["changes"][0]
    assert (first["kind"], first["subject"], first["before"]) == ("regression", "the program", "followed to its end")


def test_a_file_may_be_compared_with_and_written_at_once(folder):
    coverage("models.py:good", "--save", "base.json")
    assert coverage("models.py:worse", "--compare", "base.json", "--save", "base.json").exit_code == 0
    assert coverage("models.py:worse", "--compare", "base.json", "--fail-on-regression").exit_code == 0
    assert "difference" not in json.loads((folder / "base.json").read_text())


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', '{"target": 1, "with_values": 2, "totals": 3, "ops": 4}'])
def test_files_that_are_no_coverage_are_refused(folder, content):
    (folder / "base.json").write_text(content)
    found = coverage("models.py:good", "--compare", "base.json")
    assert found.exit_code == 2
    assert "base.json is no" in found.output
    assert coverage("models.py:good", "--compare", "missing.json").exit_code == 2
    assert coverage("models.py:good", "--fail-on-regression").exit_code == 2


def action():
    return yaml.safe_load((ROOT / "action.yml").read_text())


def run_action(folder, **inputs):
    """The last step of the action, as GitHub runs it."""
    step = action()["runs"]["steps"][-1]
    given = {name: each.get("default", "") for name, each in action()["inputs"].items()} | inputs
    environment = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: given[found[1]], value)
        for name, value in step["env"].items()
    }
    files = {name: str(folder / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        command, env=os.environ | environment | files | {"PATH": path}, capture_output=True, text=True, check=False
    )
    return done, (folder / "GITHUB_STEP_SUMMARY").read_text(), (folder / "GITHUB_OUTPUT").read_text()


def test_the_action_runs_it_and_writes_a_summary(folder):
    done, summary, output = run_action(folder, target="models.py:good", save="base.json")
    assert done.returncode == 0, done.stderr
    assert "### ttreg coverage of models.py:good" in summary
    assert output == "share=1.0\n"
    done, summary, _ = run_action(folder, target="models.py:worse", baseline="base.json")
    assert done.returncode == 1
    assert "something is worse than in base.json" in summary


def test_the_workflow_in_the_docs_names_what_the_action_has():
    page = (ROOT / "docs" / "ci.md").read_text()
    workflow = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    steps = workflow["jobs"]["coverage"]["steps"]
    ours = next(step for step in steps if "/ttreg@" in step.get("uses", ""))
    described = action()
    required = {name for name, each in described["inputs"].items() if each.get("required")}
    assert required <= set(ours["with"]) <= set(described["inputs"])
    assert set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE)) == set(described["inputs"])
    used = {name for step in steps for name in re.findall(r"steps\.coverage\.outputs\.(\w+)", str(step))}
    assert used == set(described["outputs"])
    assert described["runs"]["using"] == "composite"
    assert all(step["shell"] == "bash" for step in described["runs"]["steps"])


def test_the_commands_of_the_page_run(tmp_path):
    page = (ROOT / "docs" / "ci.md").read_text()
    commands = re.search(r"```bash\n(.*?)```", page, re.DOTALL)[1].replace("baseline.json", str(tmp_path / "b.json"))
    for line in commands.splitlines():
        done = CliRunner().invoke(cli.app, line.replace("examples/", f"{ROOT}/examples/").split()[1:])
        assert done.exit_code == 0, done.output
