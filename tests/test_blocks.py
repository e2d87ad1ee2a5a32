"""What the pages show is run: each block of code has a test that runs it, and ttreg takes each command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.metadata import distribution, version
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer.main
from typer.exceptions import TyperException

from ttreg import cli

ROOT = Path(__file__).parent.parent
TESTS = Path(__file__).parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")] + sorted((ROOT / "docs").glob("*.md"))

# What runs the blocks of a page.
RUN = {
    "README.md": "test_readme",
    "CONTRIBUTING.md": "test_packaging",  # the set-up; that the other paths exist is in test_architecture
    "adding-an-op.md": "test_tutorial",
    "ci.md": "test_coverage_baseline",
    "commands.md": "test_cli_commands",
    "coverage.md": "test_guides",
    "float32.md": "test_readme",
    "index.md": "test_site",
    "install.md": "test_blocks",
    "notebooks.md": "test_guides",
    "numerics.md": "test_guides",
    "overrides.md": "test_guides",
    "profilers.md": "test_blocks",
    "recording.md": "test_guides",
    "registry.md": "test_readme",
    "reports.md": "test_readme",
    "scaling.md": "test_distributed",
    "ttnn.md": "test_guides",
    "tutorial.md": "test_walkthrough",
    "weights.md": "test_guides",
}
DRAWN = ("mermaid",)
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def blocks(page):
    """The blocks of a page, each with its language."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_with_blocks_has_a_test_that_runs_them(page):
    shown = [language for language, _ in blocks(page) if language not in DRAWN]
    assert "" not in shown, "say the language of each block"
    if shown and page.name != "architecture.md":
        assert page.name in RUN
        assert (TESTS / f"{RUN[page.name]}.py").exists()


def commands(page):
    """The commands of ttreg on a page, in blocks and between words."""
    text = page.read_text().replace("\\\n", " ")
    lines = [
        line.removeprefix("$ ")
        for language, block in blocks(page)
        if language != "python"
        for line in block.splitlines()
    ]
    words = re.findall(r"`((?:\w+ )*ttreg [a-zA-Z-][^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines + words:
        before, found, command = f" {line}".partition(" ttreg ")
        if found and before.strip() in (
            "",
            "python -m tracy -r -p -m",
            "TTREG_ON_FALLBACK=warn",
            "TTREG_NUMERICS=chip",
        ):
            yield re.sub(r"( > .*| # .*)$", "", command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_ttreg_takes_every_command_that_a_page_shows(page):
    faults = []
    for command in commands(page):
        name, *arguments = shlex.split(command)
        if name.startswith("-") or name == "COMMAND":
            assert name in ("--version", "--help", "--install-completion", "-v", "COMMAND"), command
            continue
        assert name in COMMANDS, command
        try:
            COMMANDS[name].make_context(name, arguments)
        except TyperException as error:
            faults.append((command, error))
    # A page may speak of an option without all that the command needs.
    assert [f for f in faults if not re.search("Missing|requires an argument", f[1].format_message())] == []


def test_the_report_for_the_visualizer_is_written(tmp_path):
    (tmp_path / "script.py").write_text("import torch\ntorch.softmax(torch.rand(64, 64), -1)\n")
    (command, *_), *_ = [
        block.splitlines() for language, block in blocks(ROOT / "docs/profilers.md") if language == "bash"
    ]
    program, *arguments = shlex.split(command)
    assert program == "ttreg"
    done = subprocess.run([sys.executable, "-m", "ttreg", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "db.sqlite").exists()


def test_ttnns_profiler_takes_what_the_page_gives_it():
    """It is in ttnn's wheel without what it captures with, so it is not run here."""
    (command,) = [block for _, block in blocks(ROOT / "docs/profilers.md") if "tracy" in block]
    python, module, name, *options = shlex.split(command)
    assert (python, module) == ("python", "-m")
    found = find_spec(name)
    assert found is not None
    assert found.submodule_search_locations is not None
    known = Path(found.submodule_search_locations[0], "__main__.py").read_text()
    assert options[: options.index("ttreg")] == ["-r", "-p", "-m"]
    assert all(f'add_option("{option}"' in known for option in ("-r", "-p", "-m"))


def test_the_page_installs_the_wheel_of_this_version_with_the_extras_there_are():
    page = (ROOT / "docs" / "install.md").read_text()
    wheels = set(re.findall(r"ttreg-[\w.]+-py3-none-any\.whl", page))
    assert wheels == {f"ttreg-{version('ttreg')}-py3-none-any.whl"}
    extras = set(distribution("ttreg").metadata.get_all("Provides-Extra") or [])
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == extras
    assert set(re.findall(r"whl\[(\w+)\]", page)) <= extras
