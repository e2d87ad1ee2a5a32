"""The code is built as docs/architecture.md says: imports run down its table, and what the pages name is there."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {"ttreg": "ttreg", "ops": "ttreg.ops", "fallback": "ttreg.fallback"}
PAGES = ("docs/architecture.md", "CONTRIBUTING.md", "README.md", "docs/settings.md")
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60


@cache
def modules() -> dict[str, Path]:
    """The file of each module, by its name."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """The modules that each module names in an import anywhere: in functions and under TYPE_CHECKING too."""
    return {name: set(imported(name, path)) - {name} for name, path in modules().items()}


def imported(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            sources = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            sources = [f"{source}.{alias.name}" for alias in node.names]
            sources = [name if name in modules() else source for name in sources]
        else:
            continue
        yield from (source for source in sources if source in modules())


def room(module: str) -> str:
    """The package below `ttreg` in which a module lies, or the module itself where it lies directly below."""
    return ".".join(module.split(".")[:2])


def floors() -> dict[str, int]:
    """The line of each package and top-level module in the table, counted from the top."""
    text = (ROOT / "docs/architecture.md").read_text().partition("## What may import what")[2].partition("\n## ")[0]
    rows = [re.findall(r"`(ttreg[\w.]*)`", line.split("|")[1]) for line in text.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in row]
    assert len(names) == len(set(names)), "a name stands twice in the table"
    return {name: floor for floor, row in enumerate(rows) for name in row}


def test_the_table_has_every_package_and_top_level_module():
    assert set(floors()) == {room(module) for module in modules()}


def test_the_map_has_every_package_and_top_level_module():
    """By its folder, or by its file."""
    places = {modules()[name] for name in {room(module) for module in modules()}}
    paths = {path.parent if path.name == "__init__.py" else path for path in places} - {ROOT / "ttreg"}
    assert paths <= {ROOT / name for name in mentioned("docs/architecture.md")}


def test_the_workflow_runs_the_commands_that_the_readme_begins_with():
    runs = re.findall(r"^ *- run: (.*)$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    begins_with = re.search(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert begins_with is not None
    assert runs == begins_with[1].splitlines()


def test_nothing_imports_upward():
    floor = floors()
    upward = [(a, b) for a, targets in imports().items() for b in targets if floor[room(b)] < floor[room(a)]]
    assert not upward


@pytest.mark.parametrize("of", [str, room], ids=["modules", "packages"])
def test_imports_form_no_circle(of):
    graph: dict[str, set[str]] = {}
    for module, targets in imports().items():
        graph.setdefault(of(module), set()).update({of(target) for target in targets} - {of(module)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_files_and_functions_are_short():
    long = []
    for path in modules().values():
        text = path.read_text()
        name, lines = str(path.relative_to(ROOT)), text.count("\n")
        if lines > MOST_LINES:
            long.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    long.append(f"{name}: {node.name} has {lines} lines")
    assert not long


def mentioned(page: str) -> set[str]:
    """What stands in backticks in a page, and the lines of its blocks of commands."""
    text = (ROOT / page).read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return {*lines, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))}


def tracked() -> set[str]:
    """The files of the repository and their folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()]
    return {str(path) for file in files for path in (file, *file.parents)}


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_is_in_the_repository(page):
    files = tracked()
    tops = {file.split("/")[0] for file in files}
    words = {word for text in mentioned(page) for word in re.split(r"[\s\"=]+", text)}
    paths = {word for word in words if re.fullmatch(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(py|md|toml)", word)}
    ours = {path for path in paths if path.split("/")[0] in tops}
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    here = (ROOT / page).parent
    ours |= {str((here / link).resolve().relative_to(ROOT)) for link in links}
    assert ours
    assert sorted(path for path in ours if path.rstrip("/") not in files) == []


def exists(name: str) -> bool:
    """Whether a dotted name leads to a module, or to what one holds."""
    if name in modules():  # to import `ttreg.__main__` is to start it
        return True
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for part in parts[split:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", ()):
                return False
            found = getattr(found, part, None)
        return True
    return False


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_that_a_page_names_exists(page):
    names = {match[1] for name in mentioned(page) if (match := re.match(r"@?(ttreg(?:\.\w+)+)", name))}
    assert names
    assert sorted(name for name in names if not exists(name)) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)`", (ROOT / page).read_text())) <= targets
