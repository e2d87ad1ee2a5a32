"""The supported versions of Python, torch and ttnn: stated alike everywhere, and looked at at import."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ttreg import versions
from ttreg.errors import VersionError
from ttreg.versions import PYTHONS, TORCH, TTNN

ROOT = Path(__file__).resolve().parent.parent
BOTH = pytest.mark.parametrize("supported", [TORCH, TTNN], ids=lambda supported: supported.package)

# Installs versions of torch and ttnn that no metadata has, then uses a name of ttreg.
PROGRAM = """
import importlib.metadata, sys
real = importlib.metadata.version
torch_version, ttnn_version = sys.argv[1:]
def version(name):
    if name == "ttnn" and ttnn_version == "absent":
        raise importlib.metadata.PackageNotFoundError(name)
    return ttnn_version if name == "ttnn" and ttnn_version != "real" else real(name)
importlib.metadata.version = version
import torch
if torch_version != "real":
    torch.__version__ = torch_version
from ttreg import device_mode
assert "ttnn" not in sys.modules
print("imported")
"""


def imported(torch_version: str = "real", ttnn_version: str = "real") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, torch_version, ttnn_version]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@BOTH
def test_pyproject_asks_for_the_range(supported: versions.Supported) -> None:
    asked = [r for r in map(Requirement, metadata.requires("ttreg") or []) if r.name == supported.package]
    assert [(r.specifier, r.marker) for r in asked] == [(Requirement(supported.range).specifier, None)]
    assert f'"{supported.range}",' in (ROOT / "pyproject.toml").read_text()


def test_pyproject_asks_for_the_pythons() -> None:
    asked = SpecifierSet(metadata.metadata("ttreg")["Requires-Python"])
    admitted = [(3, minor) for minor in range(30) if f"3.{minor}.5" in asked]
    assert admitted == list(PYTHONS)
    classifiers = metadata.metadata("ttreg").get_all("Classifier") or []
    said = [c for c in classifiers if re.fullmatch(r"Programming Language :: Python :: [\d.]+", c)]
    assert said == [f"Programming Language :: Python :: {major}.{minor}" for major, minor in PYTHONS]


def test_the_readme_says_the_ranges() -> None:
    text = (ROOT / "README.md").read_text()
    assert set(re.findall(r"`((?:torch|ttnn)>=[^`]*)`", text)) == {TORCH.range, TTNN.range}
    for major, minor in PYTHONS:
        assert re.search(rf"CPython[^.\n]*(?:\.\d+[^.\n]*)*\b{major}\.{minor}\b", text)


@BOTH
def test_what_is_installed_is_neither_too_old_nor_untested(supported: versions.Supported) -> None:
    found = metadata.version(supported.package)
    assert supported.refusal(found) is None
    assert supported.warning(found) is None


VERSIONS = [
    *(
        "2.0.1",
        "2.9.0",
        "2.13.1",
        "2.13.1.post1",
        "2.14",
        "2.14.0",
        "2.14.0+cu130",
        "2.14.0a0+git12",
        "2.14.0.dev20260801",
    ),
    *(
        "2.14.1rc1",
        "2.14.0.post2",
        "2.15.0",
        "2.15.0a0+git12",
        "2.15.9+cpu",
        "2.16.0",
        "2.16.0.dev20261101",
        "2.100",
        "3.0",
    ),
    *(
        "0.7",
        "0.80.0",
        "0.81",
        "0.81.0",
        "0.81.1.dev3",
        "0.81.1rc2",
        "0.81.1",
        "0.81.1+local",
        "0.81.1.post1",
        "0.81.2",
    ),
    *("0.81.10", "0.82.0", "0.82.0rc1", "1.0"),
]


@BOTH
@pytest.mark.parametrize("found", VERSIONS)
def test_a_version_is_in_the_range_as_installers_say(supported: versions.Supported, found: str) -> None:
    admitted = Requirement(supported.range).specifier.contains(found, prereleases=True)
    refused, warned = supported.refusal(found), supported.warning(found)
    older = Version(found) < Version(supported.oldest)
    assert bool(refused) == (older and not admitted)
    assert bool(warned) == (not older and not admitted)
    for text in filter(None, (refused, warned)):
        assert text.startswith(f"{supported.package} {found} is installed")
        assert f"pip install '{supported.range}'" in text


def test_a_version_that_is_no_number_is_only_warned_of() -> None:
    assert TORCH.refusal("master") is None
    assert "torch master is installed" in (TORCH.warning("master") or "")


@pytest.mark.parametrize(
    ("installed", "said"),
    [
        ({"torch_version": "2.9.1"}, f"torch 2.9.1 is installed, which is too old: ttreg needs {TORCH.range}"),
        ({"ttnn_version": "0.80.0"}, f"ttnn 0.80.0 is installed, which is too old: ttreg needs {TTNN.range}"),
    ],
)
def test_an_older_one_is_an_error_at_import(installed: dict[str, str], said: str) -> None:
    done = imported(**installed)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"ttreg.errors.VersionError: {said} (pip install ")


def test_newer_ones_are_warned_of_at_import_once_each() -> None:
    done = imported("2.16.0", "0.82.0")
    assert done.stdout == "imported\n"
    warned = re.findall(r"UserWarning: (\w+ [\d.]+) is installed, which ttreg is not tested with", done.stderr)
    assert warned == ["torch 2.16.0", "ttnn 0.82.0"]


def test_those_that_are_supported_and_an_absent_ttnn_say_nothing_at_import() -> None:
    for ttnn_version in ("real", "absent"):
        done = imported("real", ttnn_version)
        assert (done.stdout, done.stderr) == ("imported\n", "")


def test_the_command_line_says_it_without_a_traceback() -> None:
    program = "import torch, sys; torch.__version__ = '2.9.1'; from ttreg.cli import app; app()"
    done = subprocess.run([sys.executable, "-c", program, "list", "relu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: torch 2.9.1 is installed, which is too old")
    assert "Traceback" not in done.stderr


def test_a_newer_ttnn_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    import ttreg

    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.82.1" if name == "ttnn" else real(name))
    monkeypatch.setattr("ttreg.devices._open", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            assert torch.relu(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert session.report().device.ttnn_version == "0.82.1"


def test_old_ones_are_an_import_error_too() -> None:
    assert issubclass(VersionError, ImportError)
