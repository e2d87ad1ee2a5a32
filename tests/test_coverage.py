"""`ttreg coverage`: its targets, its exit codes and its errors."""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.coverage.measure import Coverage

ROOT = Path(__file__).parent.parent
MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Linear(14400, 10)

    def forward(self, picture, scale=1.0):
        return self.head(self.conv(picture).relu().flatten(1)) * scale

PICTURE = torch.ones(1, 3, 32, 32)

def pair():
    print("loading")
    return Net(), (PICTURE,)

def lone_tensor():
    return Net(), PICTURE

def by_name():
    return Net(), {"picture": PICTURE, "scale": 2.0}

def triple():
    return Net(), (PICTURE,), {"scale": 2.0}

def on_meta():
    with torch.device("meta"):
        return Net(), torch.ones(1, 3, 32, 32)

def training_step():
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    def step():
        net(PICTURE).square().mean().backward()
        optimizer.step()
    return step

def reads():
    net = Net()
    def program():
        print("a line of the program's")
        if net(PICTURE).sum() > 0:
            net(PICTURE)
        torch.relu(PICTURE)
    return program

def half_on_the_host():
    return (lambda x: (x + x).double().sin()), torch.ones(64, 64)

def wrong_inputs():
    return Net(), torch.ones(1, 3, 8, 8)

def leaves():
    return lambda: exit(3)

def without_inputs():
    return Net()

def with_arguments(size):
    return Net(), PICTURE

def a_number():
    return 3

def broken():
    raise OSError("no weights")
"""
SCRIPT = """
import sys
import torch
from shapes import PICTURE, Net
with torch.no_grad():
    scores = Net()(PICTURE)
print(sys.argv, scores.shape)
if "--read" in sys.argv:
    print(scores.tolist())
if "--fail" in sys.argv:
    sys.exit(7)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "shapes.py").write_text(MODELS)
    (folder / "script.py").write_text(SCRIPT)
    (folder / "raises.py").write_text("import no_such_package")
    (folder / "no.pt2").write_text("text")
    return folder


@pytest.fixture
def coverage(folder, monkeypatch):
    """The command in this process, in the folder of programs."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in ("argv", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    for module in ("shapes", "raises"):
        monkeypatch.delitem(sys.modules, module, raising=False)

    def run(*arguments):
        done = CliRunner().invoke(cli.app, ["coverage", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


def rows(of):
    return sorted((r.op, r.placement, r.condition, r.reason, r.got, r.count, r.bytes) for r in of.ops)


def really(program, **keywords):
    """What a real run of the program reports."""
    with ttreg.device_mode(device="emulated", **keywords) as session:
        program()
    return session.report()


def placed(coverage):
    return {row.op.split(".")[1]: row.placement for row in coverage.ops}


@pytest.mark.parametrize("factory", ["pair", "lone_tensor", "by_name", "triple", "on_meta"])
@pytest.mark.parametrize("place", ["shapes", "shapes.py"])
def test_a_factory_gives_a_model_and_its_inputs(coverage, place, factory):
    done = coverage(f"{place}:{factory}", "--json")
    assert done.exit_code == 0, done.stderr
    said = Coverage.model_validate_json(done.stdout)
    on_device = {"convolution", "relu", "linear", "mul"} if factory != "on_meta" else {"convolution", "relu", "linear"}
    found = placed(said)
    assert {op for op, place in found.items() if place == "device"} >= on_device
    assert (said.share, said.whole, said.with_values) == (1.0, True, False)


@pytest.mark.parametrize("values", [(), ("--run",)])
def test_a_factory_gives_a_function_to_run(coverage, folder, values):
    said = Coverage.model_validate_json(coverage("shapes:training_step", "--json", *values).stdout)
    assert placed(said)["convolution_backward"]
    assert said.whole
    program = sys.modules["shapes"].training_step()
    assert rows(said) == rows(really(program))


def test_a_script_runs_as_under_ttreg_run_and_prints_on_stderr(coverage):
    done = coverage("script.py", "an argument", "--json")
    assert done.exit_code == 0
    assert "['script.py', 'an argument'] torch.Size([1, 10])" in done.stderr
    assert placed(Coverage.model_validate_json(done.stdout))["convolution"] == "device"


def test_a_script_that_reads_values_is_followed_to_there(coverage, folder):
    done = coverage("script.py", "--", "--read")
    assert done.exit_code == 1
    assert f"stopped at {folder / 'script.py'}:9: the program turns a tensor into a list" in done.stdout
    done = coverage("script.py", "--run", "--", "--read")
    assert done.exit_code == 0
    assert "[[" in done.stderr
    assert "stopped" not in done.stdout


def test_a_program_that_fails_is_a_no(coverage):
    done = coverage("script.py", "--", "--fail")
    assert done.exit_code == 1
    assert "the program failed, what follows is not covered: it left with 7" in done.stdout
    done = coverage("shapes:wrong_inputs")
    assert done.exit_code == 1
    assert "mat1 and mat2 shapes cannot be multiplied (1x576 and 14400x10)" in done.stdout
    assert "Traceback" in done.stderr
    assert "aten.convolution.default" in done.stdout  # what came before
    assert coverage("shapes:leaves").exit_code == 1


def test_an_exported_program_runs_with_the_inputs_it_was_exported_with(coverage, folder):
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(32, 8)

        def forward(self, x, *, scale):
            return self.head(x).relu() * scale

    inputs = (torch.rand(64, 32),), {"scale": torch.rand(64, 1)}
    model = Scaled()
    rows_of = {"x": {0: torch.export.Dim.AUTO}, "scale": {0: torch.export.Dim.AUTO}}
    torch.export.save(torch.export.export(model, *inputs, dynamic_shapes=rows_of), folder / "scaled.pt2")
    done = coverage("scaled.pt2", "--json")
    assert done.exit_code == 0, done.stderr
    program = torch.export.load(folder / "scaled.pt2").module()
    with torch.no_grad():
        assert rows(Coverage.model_validate_json(done.stdout)) == rows(really(lambda: program(*inputs[0], **inputs[1])))


class Runs:
    """What a pickle can be: a call of any function."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("allowed", [False, True])
def test_pickles_in_an_exported_program_run_nothing(allowed, coverage, folder, monkeypatch):
    if allowed:  # elsewhere
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.export.save(torch.export.export(torch.nn.Linear(4, 4), (torch.rand(2, 4),)), folder / "harmless.pt2")
    evil = io.BytesIO()
    torch.save(((Runs(folder / "ran"),), {}), evil)
    with zipfile.ZipFile(folder / "harmless.pt2") as harmless, zipfile.ZipFile(folder / "evil.pt2", "w") as archive:
        inputs = [name for name in harmless.namelist() if "sample_inputs" in name]
        for name in harmless.namelist():
            archive.writestr(name, evil.getvalue() if name in inputs else harmless.read(name))
    done = coverage("evil.pt2")
    assert inputs
    assert done.exit_code == 2
    assert "evil.pt2 is no file of torch.export.save" in done.stderr
    assert not (folder / "ran").exists()
    assert coverage("harmless.pt2").exit_code == 0


def test_an_exported_program_with_pickled_objects_is_refused(coverage, folder):
    with zipfile.ZipFile(folder / "opaque.pt2", "w") as archive:
        archive.writestr("opaque/data/constants/opaque_obj_0", pickle.dumps(Runs(folder / "ran")))
    done = coverage("opaque.pt2")
    assert done.exit_code == 2
    assert "it has pickled objects, which are not read" in done.stderr
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shapes", "'shapes' is no target; expected script.py, script.py:factory"),
        ("nothing.py", "there is no file nothing.py"),
        ("nothing.py:pair", "there is no file nothing.py"),
        ("nothing.jsonl", "there is no file nothing.jsonl"),
        ("nothing.pt2", "there is no file nothing.pt2"),
        ("no.pt2", "no.pt2 is no file of torch.export.save"),
        ("nothing:pair", "there is no module nothing"),
        ("nothing.at.all:pair", "there is no module nothing.at.all"),
        ("shapes:pairs", "shapes has no function 'pairs'; it has Net, pair, "),
        ("shapes:PICTURE", "shapes has no function 'PICTURE'"),
        ("shapes:without_inputs", "returned a model without inputs; expected (model, args)"),
        ("shapes:a_number", "returned a int; expected (model, args)"),
        ("shapes:with_arguments", "called without arguments, raised TypeError"),
        ("shapes:broken", "raised OSError: no weights"),
        ("raises:pair", "the import of raises raised ModuleNotFoundError: No module named 'no_such_package'"),
        ("raises.py:pair", "the import of raises.py raised ModuleNotFoundError"),
    ],
)
def test_a_target_that_is_none_is_bad_usage(coverage, target, said):
    done = coverage(target)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("options", [("--min-share", "2"), ("--precision", "int8"), ("argument",)])
def test_options_that_are_wrong_are_bad_usage(coverage, options):
    assert coverage("shapes:pair", *options).exit_code == 2


def test_min_share_decides_the_exit_code(coverage):
    assert coverage("shapes:pair", "--min-share", "1").exit_code == 0
    done = coverage("shapes:half_on_the_host", "--min-share", "0.95")
    assert done.exit_code == 1
    assert done.stderr.endswith("--min-share: a share of 33.3% is below 95.0%\n")
    assert coverage("shapes:half_on_the_host", "--min-share", "0.33").exit_code == 0


def test_settings_are_options(coverage):
    said = Coverage.model_validate_json(coverage("shapes:pair", "--min-upload-numel", "100000", "--json").stdout)
    assert placed(said)["convolution"] == "local"
