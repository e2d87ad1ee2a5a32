"""The tutorial and the README's commands: each is run as written, in order, and prints what is shown."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ttreg.ops import vocabulary
from typer.testing import CliRunner

from ttreg import cli
from ttreg.registry import registry

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs" / "adding-an-op.md").read_text()
# The README, and the pages that go on where it ends.
PAGES = ("README", "docs/settings", "docs/examples", "docs/reports", "docs/float32", "docs/registry", "docs/limits")
README = "\n".join((ROOT / f"{page}.md").read_text() for page in PAGES)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shown(text):
    """Each command that a text shows, and the output below it."""
    parts = [part for block in blocks(text, "console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [tuple(part.split("\n", 1)) for part in parts]


def check(command, expected):
    """Run a command of ttreg in this process, and compare what it prints; `...` stands for any lines."""
    program, *arguments = shlex.split(command)
    assert program == "ttreg"
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    same = doctest.OutputChecker().check_output(expected, done.stdout, doctest.ELLIPSIS)
    assert same, f"{command} prints\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The tutorial's package, built and installed as pip does it, in a folder of its own."""
    package, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    (package / "my_ops.py").write_text(next(b for b in blocks(TUTORIAL, "python") if "@lower" in b))
    (package / "pyproject.toml").write_text(blocks(TUTORIAL, "toml")[0])
    assert blocks(TUTORIAL, "bash") == ["pip install .\n"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *options, "."]
    subprocess.run(pip, cwd=package, check=True)
    return target


@pytest.fixture
def found(installed, monkeypatch):
    """The package is found, as by a program that starts anew; without the fixture it is not there."""
    len(registry)
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setattr(registry, "_loaded", False)
    yield
    for op in [entry.op for entry in registry if entry.module == "my_ops"]:
        del registry._entries[op]
    sys.modules.pop("my_ops", None)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder of the README's commands: what its program reports, and what it does with the change described."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "examples").symlink_to(ROOT / "examples")
    program = next(block for block in blocks(README, "python") if "device_mode" in block)
    changed = program.replace("scores.argmax()", "scores.double().argmax()")
    assert changed != program
    for name, text in (("yesterday", program), ("today", changed)):
        names = {}
        exec(text, names)
        (folder / f"{name}.json").write_text(names["session"].report().model_dump_json())
    return folder


@pytest.mark.parametrize(("command", "expected"), shown(README), ids=[command for command, _ in shown(README)])
def test_the_readmes_commands_print_what_it_shows(command, expected, reports, monkeypatch):
    monkeypatch.chdir(reports)
    check(command, expected)


def test_before_the_package_the_op_is_the_hosts():
    check(*shown(TUTORIAL)[0])


@pytest.mark.long
def test_the_skeleton_is_the_tutorials():
    (command,) = [(command, expected) for command, expected in shown(TUTORIAL) if "new-op" in command]
    check(*command)


def test_with_the_package_every_command_prints_what_is_shown(found):
    after = TUTORIAL[TUTORIAL.index("## 4.") :]
    assert len(shown(after)) + 2 == len(shown(TUTORIAL))
    for command, expected in shown(after):
        check(command, expected)


def test_the_program_runs_the_op_on_the_device(found, capsys):
    exec(compile(blocks(TUTORIAL, "python")[-1], "tutorial", "exec"), {})
    total, ops = capsys.readouterr().out.split(" ", 1)
    assert total == "1024.0"
    assert sorted(ast.literal_eval(ops)) == ["aten.heaviside.default", "aten.sum.default"]  # rows come by their time


def test_every_word_that_lowerings_share_is_in_the_table():
    table = TUTORIAL.partition("## The words that lowerings share")[2]
    assert [word for word in vocabulary.__all__ if not re.search(rf"`{word}[(`]", table)] == []
