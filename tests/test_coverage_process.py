"""`ttreg coverage` as a process of its own: what it opens, how it fits a terminal, and how Ctrl-C ends it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TTREG = str(Path(sys.executable).parent / "ttreg")


LAYERS = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 64, 7), torch.nn.BatchNorm2d(64)).eval(), (torch.rand(1, 3, 64, 64),)
"""


def test_no_device_is_opened_and_ttnn_is_brought_only_for_its_golden_functions_and_silently(tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS)
    program = (
        "import sys; from typer.testing import CliRunner; from ttreg import cli, devices\n"
        "for target in ('examples/seeded/classifier.py:classifier', sys.argv[1]):\n"
        "    done = CliRunner().invoke(cli.app, ['coverage', target])\n"
        "    print(done.exit_code, 'ttnn' in sys.modules, devices._open)\n"
        "    print(done.stderr, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, f"{tmp_path / 'layers.py'}:make"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LOGURU", "TT_"))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0 False {}\n0 True {}\n"
    assert "ttnn" not in done.stderr


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


@pytest.mark.parametrize("target", ["waits.py:endless", "waits.py"])
def test_ctrl_c_ends_it_and_leaves_nothing_behind(target, tmp_path):
    (tmp_path / "waits.py").write_text(
        "import time\n"
        "def endless():\n    print('ready', flush=True)\n    time.sleep(600)\n"
        "if __name__ == '__main__':\n    endless()\n"
    )
    running = subprocess.Popen(
        [TTREG, "coverage", target, "--json"],
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
    assert (running.returncode, out, err.splitlines()[-1]) == (130, "", "interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["waits.py"]
