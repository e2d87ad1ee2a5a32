"""The package's layout, its pins, and the scripts that set a checkout up."""

from __future__ import annotations

import importlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ttreg.versions import TORCH, TTNN

ROOT = Path(__file__).resolve().parent.parent
PINNED = (("3.10", "constraints.txt"), ("3.12", "constraints.txt"), ("3.10", "constraints-oldest.txt"))

# Stands for a CPython of any version: it notes how it is called, and makes environments of copies of itself.
FAKE_PYTHON = """#!/bin/sh
echo "$@" >>"$LOG"
if [ "$1 $2" = "-m venv" ]; then
    for folder; do :; done
    mkdir -p "$folder/bin"
    cp "$0" "$folder/bin/python"
    echo "VIRTUAL_ENV=$folder" >"$folder/bin/activate"
fi
"""
BROKEN_SHIM = "#!/bin/sh\nexit 127\n"


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up reads."""
    root = tmp_path / "check out"
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "constraints-oldest.txt", "scripts/setup.sh"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment with the usual commands, and no Python but a shim that does not start."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for command in ("bash", "cat", "cp", "dirname", "grep", "make", "mkdir", "rm", "sh", "sha256sum"):
        (bin_folder / command).symlink_to(shutil.which(command) or "")
    for name in ("python", "python3", "python3.10", "python3.12"):
        executable(bin_folder / name, BROKEN_SHIM)
    log = tmp_path / "log"
    log.touch()
    return {"PATH": str(bin_folder), "HOME": str(tmp_path), "PYTHON_FOLDERS": "", "LOG": str(log)}


def make(target: str, checkout: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", target], cwd=checkout, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("ttreg", "ttreg"),
        ("ttreg.demo", "ttreg/demo"),
        ("ttreg.devices", "ttreg/devices"),
        ("ttreg.runtime", "ttreg/runtime"),
        ("ttreg.fallback", "fallback"),
        ("ttreg.ops", "ops"),
    ],
)
def test_package_lies_in_folder(package: str, folder: str) -> None:
    assert Path(importlib.import_module(package).__path__[0]) == ROOT / folder


def test_wheel_holds_every_module_under_ttreg(tmp_path: Path) -> None:
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", str(wheels), str(source)], check=True, capture_output=True)
    names = set(zipfile.ZipFile(next(wheels.glob("*.whl"))).namelist())

    shipped = {name for name in names if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in shipped} == {"ttreg"}
    suffixes = (".py", ".yaml", ".jsonl", ".typed", ".css", ".html", ".js")
    modules = {path.relative_to(ROOT).as_posix() for path in tracked() if path.suffix in suffixes}
    wanted = {name for name in modules if name.startswith("ttreg/")}
    wanted |= {f"ttreg/{name}" for name in modules if name.startswith(("ops/", "fallback/"))}
    assert shipped >= wanted | {"ttreg/docs/ttnn-limits.md"}  # `ttreg show` reads it


def pins(python: str, constraints: str) -> dict[str, list[str]]:
    """The pinned versions by distribution, as an installer on that CPython reads them."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / constraints).read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"not pinned by version: {line}"
            assert pin.url is None
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                found.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier))
    return found


def wanted(requirement: Requirement, python: str) -> bool:
    environments = [{"python_version": python, "extra": extra} for extra in ("", "dev", "docs", "models", "tables")]
    return requirement.marker is None or any(map(requirement.marker.evaluate, environments))


@pytest.mark.parametrize(("python", "constraints"), PINNED)
def test_every_direct_dependency_is_pinned_once(python: str, constraints: str) -> None:
    pinned = pins(python, constraints)
    assert [name for name, versions in pinned.items() if len(versions) > 1] == []
    direct = [r for r in map(Requirement, distribution("ttreg").requires or []) if wanted(r, python)]
    assert {requirement.name for requirement in direct} >= {
        "torch",
        "ttnn",
        "pytest",
        "sentence-transformers",
    }
    for requirement in direct:
        version = pinned[canonicalize_name(requirement.name)][0].removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"
    assert "facenet-pytorch" in pinned  # which no extra can name


def test_the_oldest_pins_have_the_oldest_torch_and_ttnn() -> None:
    oldest = pins("3.10", "constraints-oldest.txt")
    for supported in (TORCH, TTNN):
        [pin] = oldest[supported.package]
        assert Requirement(supported.package + pin).specifier.contains(supported.oldest)


def test_setup_without_interpreter_says_how_to_get_one(checkout: Path, bare: dict[str, str]) -> None:
    done = make("setup", checkout, bare)
    assert done.returncode != 0
    for words in ("CPython 3.12 or 3.10", "uv python install 3.12", "pyenv install 3.12", "apt-get install"):
        assert words in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_refuses_a_named_interpreter_that_does_not_start(checkout: Path, bare: dict[str, str]) -> None:
    executable(Path(bare["HOME"], ".pyenv/versions/3.12.1/bin/python"), FAKE_PYTHON)
    done = make("setup", checkout, bare | {"PYTHON": "python3.12"})
    assert done.returncode != 0
    assert "PYTHON" in done.stderr


@pytest.mark.parametrize(
    "place",
    [
        ".pyenv/versions/3.10.13/bin/python",
        ".local/share/uv/python/cpython-3.12.9-linux/bin/python3.12",
        "a b/python3.12",
    ],
)
def test_setup_installs_once(place: str, checkout: Path, bare: dict[str, str]) -> None:
    """The interpreter is found past shims that do not start; only changed pins install again."""
    python = executable(
        Path(bare["HOME"], place.replace("python3.12", "python") if "uv/" in place else place), FAKE_PYTHON
    )
    environment = bare | {"PYTHON_FOLDERS": f"/nowhere:{python.parent}"}
    log = Path(bare["LOG"])

    assert make("setup", checkout, environment).returncode == 0
    calls = log.read_text()
    assert calls.count("-m venv") == 1
    assert ".[models,tables,dev]" in calls
    assert "--no-deps facenet-pytorch" in calls

    log.write_text("")
    assert make("setup", checkout, environment).returncode == 0
    assert log.read_text() == ""

    (checkout / "constraints.txt").write_text("# others\n")
    assert make("setup", checkout, environment).returncode == 0
    assert ".[models,tables,dev]" in log.read_text()
    assert "-m venv" not in log.read_text()


def test_the_oldest_versions_have_an_environment_of_their_own_on_the_oldest_python(
    checkout: Path, bare: dict[str, str]
) -> None:
    for version in ("3.12.1", "3.10.13"):
        executable(Path(bare["HOME"], f".pyenv/versions/{version}/bin/python"), FAKE_PYTHON)
    done = make("test-oldest", checkout, bare)
    assert done.returncode == 0, done.stderr
    assert "/versions/3.10.13/bin/python" in done.stdout
    calls = Path(bare["LOG"]).read_text()
    assert f"-m venv --clear {checkout}/.venv-oldest" in calls
    assert "--constraint constraints-oldest.txt" in calls
    assert "constraints.txt" not in calls
    assert "-m pytest" in calls
    assert not (checkout / ".venv").exists()


def test_setup_makes_the_environment_of_a_moved_checkout_anew(checkout: Path, bare: dict[str, str]) -> None:
    executable(Path(bare["HOME"], ".pyenv/versions/3.12.1/bin/python"), FAKE_PYTHON)
    assert make("setup", checkout, bare).returncode == 0
    moved = checkout.rename(checkout.with_name("moved"))
    Path(bare["LOG"]).write_text("")
    assert make("setup", moved, bare).returncode == 0
    assert f"-m venv --clear {moved}/.venv" in Path(bare["LOG"]).read_text()


def test_ci_runs_make_test(tmp_path: Path) -> None:
    executable(tmp_path / "make", '#!/bin/sh\necho "make $@ in $PWD"\n')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/run")], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"make test in {ROOT}"


def text_of(path: Path) -> str:
    return lzma.decompress(path.read_bytes()).decode() if path.suffix == ".xz" else path.read_text()


def test_no_tracked_file_names_a_machine_or_an_index() -> None:
    wrong = re.compile(r"/root/|/work/|/home/\w|file:/{3}|https?://\S*(pypi|/simple\b|pythonhosted)")
    for path in tracked():
        if path != Path(__file__).resolve() and path.suffix != ".png":
            assert (match := wrong.search(text_of(path))) is None, f"{path.relative_to(ROOT)}: {match.group()}"
