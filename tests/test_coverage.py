"""`ttreg coverage`: its targets, what is known without values and what is not, its exit codes and its errors."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.coverage.dry import dry_run
from ttreg.coverage.host_values import HostSession
from ttreg.coverage.measure import Coverage, cover_calls
from ttreg.coverage.shapes import ShapeSession
from ttreg.coverage.targets import TargetError
from ttreg.coverage.unknown import ValuesNeeded
from ttreg.coverage.variations import read
from ttreg.settings import Settings

ROOT = Path(__file__).parent.parent
TTREG = str(Path(sys.executable).parent / "ttreg")
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


@contextmanager
def without_values(**keywords):
    with dry_run(ShapeSession(Settings(min_upload_numel=0, **keywords))) as session:
        yield session


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
    on_device = {"convolution", "relu", "addmm", "mul"} if factory != "on_meta" else {"convolution", "relu", "addmm"}
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


def test_a_file_of_calls(coverage):
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


def test_calls_that_pytorch_refuses_are_skipped_and_told(coverage, tmp_path):
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
    ],
)
def test_a_line_that_is_no_call_is_bad_usage(coverage, tmp_path, line, said):
    (tmp_path / "calls.jsonl").write_text(line)
    with pytest.raises(TargetError, match=re.escape(said)):
        list(read(tmp_path / "calls.jsonl"))
    done = coverage(str(tmp_path / "calls.jsonl"))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


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


def test_min_share_of_no_calls_is_a_no(coverage, tmp_path):
    (tmp_path / "calls.jsonl").write_text("")
    done = coverage(str(tmp_path / "calls.jsonl"), "--min-share", "0")
    assert done.exit_code == 1
    assert "no share, as no call counts" in done.stderr


def test_settings_are_options(coverage):
    said = Coverage.model_validate_json(coverage("shapes:pair", "--min-upload-numel", "100000", "--json").stdout)
    assert placed(said)["convolution"] == "local"


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


READS = {
    "item": lambda t: t.item(),
    "bool": lambda t: bool(t > 0),
    "float": float,
    "index": lambda t: [1, 2][(t > 0).long()],
    "list": lambda t: t.tolist(),
    "array": lambda t: t.numpy(),
    "print": repr,
    "nonzero": lambda t: t.nonzero(),
    "mask": lambda t: t[t > 0],
    "equal": lambda t: torch.equal(t, t + 1),
    "save": lambda t: torch.save(t, os.devnull),
    "address": lambda t: t.data_ptr(),
    "copy": lambda t: t.double().sin().tolist(),
    "after a write": lambda t: torch.zeros(()).copy_(t.double()).item(),
}


@pytest.mark.parametrize("read_value", READS.values(), ids=READS)
def test_a_read_of_an_unknown_value_stops_and_has_values_with_run(read_value):
    given = torch.full((64, 64), 0.5)
    with pytest.raises(ValuesNeeded), without_values() as session:
        read_value(given.sum())
    assert session.stopped is not None
    assert "test_coverage.py" in session.stopped.where
    with dry_run(HostSession(Settings(min_upload_numel=0))):
        result = read_value(given.sum())
    expected = read_value(given.sum())
    if not isinstance(expected, int):  # an address
        assert str(result) == str(expected)


def test_what_does_not_depend_on_floating_point_results_is_known():
    tokens = torch.tensor([[1, 2, 3, 0]] * 400)
    with without_values():
        mask = (tokens != 0).to(torch.int32)
        assert mask[0].tolist() == [1, 1, 1, 0]
        assert not (mask == 1).all()
        hidden = torch.rand(400, 4, 8) * 2
        assert hidden[mask.bool()].shape == (1200, 8)  # its shape is the mask's to say
        assert torch.zeros_like(hidden[0].double()).sum().item() == 0
        with pytest.raises(SystemExit):
            hidden[0, 0, 0].item()


def test_memory_that_an_unknown_value_is_written_to_is_unknown():
    buffer = torch.zeros(4, 64, 64)
    part = buffer[1]
    with without_values():
        part.copy_(torch.ones(64, 64) * 3)
        with pytest.raises(SystemExit):
            buffer.sum().item()


def test_an_index_that_is_known_is_checked():
    table = torch.rand(10, 64)

    def program():
        return torch.nn.functional.embedding(torch.tensor([3, 11]), table)

    with pytest.raises(IndexError), without_values() as session:
        program()
    with pytest.raises(IndexError), ttreg.device_mode(device="emulated", min_upload_numel=0) as real:
        program()
    assert rows(session.report()) == rows(real.report())


def test_host_values_are_those_of_plain_pytorch():
    def program():
        torch.manual_seed(0)
        x = torch.rand(8, 40)
        x[:, 3] = 2.0
        y = x.t().reshape(4, 80).clone()
        y.chunk(2)[1].mul_(3)
        parts = torch.split(y @ y.t(), 2)
        top = parts[0].topk(2)
        return [x, y, parts[1].expand(3, 2, 4).contiguous(), top.values, top.indices, y[y > 1.5]]

    with dry_run(HostSession(Settings(min_upload_numel=0))) as session:
        results = program()
    assert session.report().totals.device > 5
    for result, expected in zip(results, program(), strict=True):
        assert torch.equal(result.clone(), expected)


def test_no_device_is_opened():
    program = (
        "import sys; from typer.testing import CliRunner; from ttreg import cli, devices\n"
        "done = CliRunner().invoke(cli.app, ['coverage', 'examples/seeded/classifier.py:classifier'])\n"
        "print(done.exit_code, 'ttnn' in sys.modules, devices._open)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "0 False {}\n"


def test_on_a_terminal_lines_fit_it():
    master, slave = pty.openpty()
    command = [TTREG, "coverage", "examples/seeded/classifier.py:classifier"]
    environment = os.environ | {"COLUMNS": "90", "TERM": "xterm"}
    running = subprocess.Popen(command, cwd=ROOT, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += os.read(master, 10_000)
        except OSError:  # the other side has closed it
            break
    os.close(master)
    assert running.wait() == 0
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.decode())
    tables = [line.rstrip("\r") for line in text.split("\n") if line.startswith(("│", "┃"))]
    assert "got float64" in "".join(tables)
    assert max(map(len, tables)) <= 90


def test_ctrl_c_ends_it_and_leaves_nothing_behind(tmp_path):
    (tmp_path / "waits.py").write_text(
        "import time\ndef endless():\n    print('ready', flush=True)\n    time.sleep(600)\n"
    )
    running = subprocess.Popen(
        [TTREG, "coverage", "waits.py:endless", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr is not None
    assert running.stderr.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["waits.py"]
