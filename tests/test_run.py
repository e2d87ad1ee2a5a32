"""`ttreg run` runs a program as `python` does, on the device: the same output, traceback and exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ttreg import cli
from ttreg.report import Report

TTREG = str(Path(sys.executable).parent / "ttreg")
PROGRAM = """
import atexit, multiprocessing, pickle, sys
from pathlib import Path
import torch
import beside

class Kept:
    pass

def in_a_process(n):
    return type(torch.relu(torch.ones(64, 64))).__name__ + str(n)

def product(a, b):
    return a @ b

def main(mode):
    a = torch.ones(64, 64)
    print(sys.argv, Path(sys.path[0]).name, __name__, Path(__file__).is_absolute(), __spec__, beside.NAME)
    print(product(a, a).sum().item(), type(pickle.loads(pickle.dumps(Kept()))) is Kept)
    if mode == "spawn":
        atexit.register(lambda: print("at exit"))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(in_a_process, [1, 2]))
    if mode == "exit":
        sys.exit(7)
    if mode == "message":
        sys.exit("a message")
    if mode == "wrong shapes":
        product(a, a[:3])
    if mode == "interrupt":
        raise KeyboardInterrupt
    if mode == "decompose":
        print(torch.linalg.qr(a).R.shape)

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    (folder / "program.py").write_text(PROGRAM)
    (folder / "beside.py").write_text("NAME = 'beside'")
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "__main__.py").write_text(
        "import sys, torch\nfrom . import other\nprint(sys.argv[1:], __spec__.name, __package__, other.NAME)\n"
    )
    (folder / "package" / "other.py").write_text("NAME = __name__")
    (folder / "broken.py").write_text("def f(:\n")
    return folder


def execute(folder, *command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TTREG_", "PYTEST_"))}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.mark.parametrize(
    "mode",
    [pytest.param("spawn", marks=pytest.mark.long), pytest.param("message", marks=pytest.mark.long), "wrong shapes"],
)
def test_a_script_ends_as_under_python_and_its_report_is_on_stderr(folder, mode):
    program = ["program.py", mode, "--report", "-m"]
    plain = execute(folder, sys.executable, *program)
    done = execute(folder, TTREG, "run", "--device", "emulated", "--report", "report.json", *program)
    assert done.stdout == plain.stdout
    assert done.returncode == plain.returncode
    assert all(line in done.stderr.splitlines() for line in plain.stderr.splitlines())
    assert done.stderr.count("File ") == plain.stderr.count("File ")
    assert "aten.matmul.default" in done.stderr
    report = Report.model_validate_json((folder / "report.json").read_text())
    assert "aten.matmul.default" in {row.op for row in report.ops if row.placement == "device"}


def test_a_module_ends_as_under_python(folder):
    plain = execute(folder, sys.executable, "-m", "package", "-x")
    done = execute(folder, sys.executable, "-m", "ttreg", "run", "--device", "emulated", "-m", "package", "-x")
    assert (done.stdout, done.returncode) == (plain.stdout, 0)
    assert "0 calls" in done.stderr


@pytest.fixture
def in_process(folder, monkeypatch):
    """The command in this process, whose own state it changes as Python would."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in ("argv", "excepthook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.delitem(sys.modules, "beside", raising=False)

    def run(*arguments):
        return CliRunner().invoke(cli.app, ["run", "--device", "emulated", *arguments])

    return run


@pytest.mark.parametrize(("mode", "code"), [("", 0), ("exit", 7), ("interrupt", 130), ("wrong shapes", 1)])
def test_exit_codes(in_process, mode, code):
    done = in_process("program.py", mode)
    assert done.exit_code == code
    assert "aten.matmul.default" in done.stderr


def test_a_script_that_does_not_compile(in_process):
    done = in_process("broken.py")
    assert done.exit_code == 1
    assert "broken.py" in done.stderr
    assert "SyntaxError" in done.stderr
    assert "Traceback" not in done.stderr


def test_strict_fails_where_floating_point_calls_fall_back(in_process):
    assert in_process("--strict", "program.py", "").exit_code == 0  # it reads a sum
    done = in_process("--strict", "program.py", "decompose")
    assert done.exit_code == 1
    assert "--strict: the host ran floating-point calls of aten.linalg_qr.default" in done.stderr


def test_a_path_that_is_no_utf8_is_shown_in_json_too(tmp_path, monkeypatch):
    program, report = tmp_path / "odd \udce4.py", tmp_path / "report.json"
    program.write_text("import torch; (torch.ones(64, 64) @ torch.ones(64, 64)).sum().item()")
    monkeypatch.setenv("TTREG_TRACE", str(tmp_path / "trace \udce4.json"))
    done = CliRunner().invoke(cli.app, ["config", "--json"])
    assert done.exit_code == 0
    assert str(tmp_path / "trace ?.json") in [setting["value"] for setting in json.loads(done.stdout)]
    done = CliRunner().invoke(cli.app, ["run", "--device", "emulated", "--report", str(report), str(program)])
    assert done.exit_code == 0
    assert Report.model_validate_json(report.read_text()).totals.device


def test_a_report_that_is_piped_is_at_most_120_columns_wide(in_process):
    done = in_process("program.py", "decompose")
    assert "aten.linalg_qr.default" in done.stderr
    assert max(map(len, done.stderr.splitlines())) <= 120


def test_options_are_the_keywords_of_device_mode(in_process):
    done = in_process("--on-fallback", "raise", "--min-upload-numel", "1000000", "program.py", "decompose")
    assert done.exit_code == 1
    assert "FallbackError: aten.linalg_qr.default fell back" in done.stderr


def test_a_trace_is_written_also_of_a_program_that_fails(in_process, folder):
    done = in_process("--trace", "t.json", "--report", "traced.json", "program.py", "wrong shapes")
    assert done.exit_code == 1
    ran = [event["name"] for event in json.loads((folder / "t.json").read_text()) if event.get("cat") == "device"]
    assert "aten.matmul.default" in ran
    trace = Report.model_validate_json((folder / "traced.json").read_text()).trace
    assert (trace.file, trace.process) == (str(folder / "t.json"), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["nothing.py"], "there is no script nothing.py"),
        (["package"], "package is a folder"),
        (["-m", "nothing"], "there is no module nothing"),
        (["-m", "beside.nothing"], "there is no module beside.nothing"),
        (["-m", "torch"], "torch is a package without a __main__"),
        (["-m", "sys"], "there is no module sys"),
        (["--report", "nowhere/report.json", "program.py"], "nowhere/report.json cannot be written"),
        (["--min-upload-numel", "-3", "program.py"], "min_upload_numel is '-3'; expected an integer"),
        (
            ["--trace", "nowhere/t.json", "program.py"],
            "trace is 'nowhere/t.json', which cannot be written: No such file",
        ),
        (["--devise", "ttnn", "program.py"], "No such option: --devise"),
    ],
)
def test_bad_usage_says_what_is_wrong(in_process, monkeypatch, arguments, message):
    monkeypatch.setenv("COLUMNS", "200")
    done = in_process(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
