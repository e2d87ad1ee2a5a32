"""What holds for every command: help with an example, exit codes, JSON as documented, and no needless imports."""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from pydantic import TypeAdapter
from typer.testing import CliRunner

from ttreg import cli
from ttreg.cli import reference, shared
from ttreg.errors import TtregError
from ttreg.explain import docs
from ttreg.report import DeviceInfo, Report, Totals, Transfers

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
COMMANDS = cli.COMMANDS
QUICK = {
    "list": ["list", "cumsum"],
    "show": ["show", "cumsum"],
    "report": ["report", "yesterday.json", "today.json"],
    "why": ["why", "cumsum", "--args", "f32[3], 0"],
    "config": ["config"],
    "limits": ["limits"],
    "docs": ["docs"],
    "coverage": ["coverage", "my_models.py:classifier"],
    "new-op": ["new-op", "heaviside", "--no-verify"],
}
MODELS = """
import torch
def classifier():
    return torch.nn.Linear(64, 64), torch.rand(64, 64)
"""


def names(command):
    return command.name


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder with two reports, which `ttreg docs` takes for that of the checkout's own pages."""
    monkeypatch.setattr(docs, "folder", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text(MODELS)
    device = DeviceInfo(name="emulated", arch="wormhole_b0", ttnn_version="0.81.1", validated=False)
    for name in ("yesterday", "today"):
        report = Report(device=device, ops=[], transfers=Transfers(), totals=Totals())
        (tmp_path / f"{name}.json").write_text(report.model_dump_json())


@pytest.mark.parametrize("command", COMMANDS, ids=names)
def test_help_has_an_example_and_the_exit_codes(command):
    done = CliRunner().invoke(cli.app, [command.name, "--help"])
    assert done.exit_code == 0
    shown = " ".join(done.stdout.split())
    assert f"Example: {' '.join(command.example.split())}" in shown
    assert "Exit codes: 0 ok" in shown
    assert "--json" in shown or command.takes_a_program
    assert f"ttreg {command.name}" in command.example


def test_help_lists_every_command():
    shown = CliRunner().invoke(cli.app, ["--help"]).stdout
    assert all(command.name in shown for command in COMMANDS)


@pytest.mark.parametrize("name", QUICK)
def test_the_example_works(name, elsewhere, monkeypatch):
    words = shlex.split(next(command for command in COMMANDS if command.name == name).example)
    while "=" in words[0]:
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    assert words[0] == "ttreg"
    if ">" in words:  # what the shell does
        del words[words.index(">") :]
    done = CliRunner().invoke(cli.app, words[1:])
    assert done.exit_code == (1 if "--check" in words else 0), done.stderr  # the folder is an empty one


@pytest.mark.parametrize("name", QUICK)
def test_json_has_the_documented_type(name, elsewhere):
    command = next(command for command in COMMANDS if command.name == name)
    kind = reference._type(command.json)
    done = CliRunner().invoke(cli.app, [*QUICK[name], "--json"])
    assert done.exit_code == 0, done.stderr
    TypeAdapter(list[kind] if command.json_form == "an array" else kind).validate_json(done.stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=names)
def test_every_json_type_is_in_the_docs(command):
    page = (ROOT / "docs" / "commands.md").read_text()
    assert f"## ttreg {command.name}\n" in page
    assert f"| `{reference._type(command.json).__name__}` |" in page


@pytest.mark.parametrize("name", QUICK)
def test_piped_there_is_no_colour_and_no_line_is_cut(name, elsewhere, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    done = CliRunner().invoke(cli.app, QUICK[name])
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) > 20


def test_columns_are_cut_to_the_width_of_a_terminal():
    program = (
        "from ttreg.cli.shared import print_columns as p, print_fields as f; p([('a', 'b'), ('x' * 30, 'y' * 30)])"
    )
    program += "; f([('name', 'word ' * 12)])"
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "40"}
    subprocess.run([sys.executable, "-c", program], stdout=slave, env=environment, check=True)
    os.close(slave)
    lines = re.sub(r"\x1b\[\d*m", "", os.read(master, 10_000).decode()).splitlines()
    os.close(master)
    assert f"{'x' * 30}  yyyyyyy…" in lines
    assert "  name  word word word word word word" in lines


def test_errors_of_ttregs_own_are_bad_usage(monkeypatch):
    def fail():
        raise TtregError("the folder is full")

    monkeypatch.setattr(docs, "folder", fail)
    done = CliRunner().invoke(cli.app, ["docs"])
    assert done.exit_code == shared.BAD_USAGE
    assert done.stderr == "Error: the folder is full\n"


def test_ctrl_c_has_an_exit_code_of_its_own():
    app = typer.Typer(cls=shared.Commands)

    @app.callback()
    def options() -> None: ...

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    done = CliRunner().invoke(app, ["wait"])
    assert done.exit_code == shared.INTERRUPTED
    assert done.stderr == "interrupted\n"


def listen() -> None:
    """Take Ctrl-C, which whatever started the tests may have told its children to ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_process_behind(tmp_path):
    command = [str(BIN / "ttreg"), "verify", "--arch", "blackhole"]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=listen,
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    while running.poll() is None and len(children.read_text().split()) < 2:  # the worker, and Python's resource tracker
        time.sleep(0.05)
    started = children.read_text().split()
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    out, err = running.communicate(timeout=60)
    assert running.returncode == shared.INTERRUPTED
    assert (out, err) == ("", "interrupted\n")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in started):
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert list(tmp_path.iterdir()) == []


def test_commands_that_answer_at_once_import_no_more_than_they_need():
    program = (
        "import sys, torch; from typer.testing import CliRunner; from ttreg.cli import app\n"
        "for arguments in (['list'], ['show', 'cumsum'], ['config'], ['why', 'cumsum', '--args', 'f32[3], 0']):\n"
        "    assert CliRunner().invoke(app, arguments).exit_code == 0\n"
        "print([name for name in ('ttnn', 'rich', 'ttreg.explain.skeleton', 'ttreg.demo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_shell_completes_ops():
    words = {"COMP_WORDS": "ttreg show cums", "COMP_CWORD": "2", "_TTREG_COMPLETE": "complete_bash"}
    done = subprocess.run([str(BIN / "ttreg")], env=os.environ | words, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["cumsum"]
