"""docs/tutorial.md leads from coverage to a fixed op: each command runs in its order, and prints what is shown."""

from __future__ import annotations

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ttreg import cli
from ttreg.registry import registry

TUTORIAL = (Path(__file__).parent.parent / "docs" / "tutorial.md").read_text()
BEFORE, AFTER = TUTORIAL.split("## 5.")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(command):
    """A command of ttreg; one that runs a program in a process of its own, as it replaces `__main__`."""
    program, *arguments = shlex.split(command)
    assert program == "ttreg"
    if arguments[0] == "run":
        done = subprocess.run([sys.executable, "-m", "ttreg", *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr
    done = CliRunner().invoke(cli.app, arguments)
    return done.exit_code, done.stdout, done.stderr


def check(text):
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, expected = part.split("\n", 1)
            _, printed, errors = run(command)
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            same = doctest.OutputChecker().check_output(expected, printed, options)
            assert same, f"{command} prints\n{printed}{errors}"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the tutorial's model, which is what is worked in."""
    (tmp_path / "mymodel.py").write_text(blocks(TUTORIAL, "python")[0])
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for op in [entry.op for entry in registry if entry.module == "my_ops"]:
        del registry._entries[op]
    sys.modules.pop("my_ops", None)


def install(project, monkeypatch):
    """Lay the package out, install it as the tutorial says, and let it be found, as by a program that starts anew."""
    package, target = project / "package", project / "installed"
    package.mkdir()
    (package / "my_ops.py").write_text(blocks(TUTORIAL, "python")[1])
    (package / "pyproject.toml").write_text(blocks(TUTORIAL, "toml")[0])
    command, *_ = blocks(TUTORIAL, "bash")
    assert command == "pip install .\n"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options, "."], cwd=package, check=True)
    monkeypatch.syspath_prepend(target)
    monkeypatch.setenv("PYTHONPATH", str(target))
    monkeypatch.setattr(registry, "_loaded", False)


def test_the_tutorial_leads_from_coverage_to_a_fixed_op(project, monkeypatch):
    check(BEFORE)
    install(project, monkeypatch)
    check(AFTER)
    shutil.copy("after.json", "today.json")
    commands = blocks(AFTER, "bash")[0].splitlines()
    assert [run(command)[0] for command in commands] == [0, 0]
    shutil.copy("before.json", "today.json")
    assert run(commands[-1])[0] == 1
