"""Checks what ttreg needs on this machine, and gives advice where something is missing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from ..amounts import size
from ..caches import cache_home
from ..errors import DeviceUnavailableError
from ..settings import ARCHS
from ..versions import PYTHONS, TORCH, TTNN, Supported, installed
from . import chip_present
from .mock_chip import MockChipError, find_wheel

_CARDS = Path("/dev/tenstorrent")
_DRIVER = Path("/sys/module/tenstorrent/version")
_HUGEPAGES = Path("/dev/hugepages-1G")
_MOST_FILES = 10_000  # of a cache, that are looked at: mocked chips leave hundreds of thousands in the end

_OPEN = """
import sys, ttreg
with ttreg.device_mode(device="mock", arch=sys.argv[1]) as session:
    pass
"""


class Line(BaseModel):
    """One check. `advice` says what to do if it fails."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


def examine() -> Iterator[Line]:
    """Run the checks one by one. The mocked chips are really opened, each in a process of its own."""
    yield _python()
    yield _package(TORCH)
    yield _package(TTNN)
    yield _cards()
    yield _driver()
    yield _hugepages()
    yield _simulator()
    yield _compiler()
    for arch in ARCHS:
        yield _mocked(arch)
    yield _cache()


def _python() -> Line:
    found = platform.python_version()
    if sys.version_info[:2] in PYTHONS:
        return Line(name="Python", status="ok", found=found)
    return Line(name="Python", status="fail", found=found, advice="ttnn has wheels for CPython 3.12 and 3.10 only")


def _package(supported: Supported) -> Line:
    name, found = supported.package, installed(supported.package)
    if found is None:
        return Line(name=name, status="fail", found="not installed", advice=f"pip install '{supported.range}'")
    refusal, warning = supported.refusal(found), supported.warning(found)
    status: Literal["ok", "warn", "fail"] = "fail" if refusal else "warn" if warning else "ok"
    return Line(name=name, status=status, found=found, advice=refusal or warning or "")


def _cards() -> Line:
    cards = sorted(path.name for path in _CARDS.glob("*"))
    if cards:
        return Line(name="cards", status="ok", found=f"{_CARDS}: {', '.join(cards)}")
    advice = 'device="emulated" needs none; for a card, install tt-kmd and look for it with tt-smi'
    return Line(name="cards", status="warn", found=f"none in {_CARDS}", advice=advice)


def _driver() -> Line:
    if _DRIVER.exists():
        return Line(name="driver", status="ok", found=f"tt-kmd {_DRIVER.read_text().strip()}")
    return Line(name="driver", status=_needed(), found="tt-kmd not loaded", advice="a card needs tt-kmd")


def _hugepages() -> Line:
    if _HUGEPAGES.is_dir():
        return Line(name="hugepages", status="ok", found=f"{_HUGEPAGES}")
    return Line(
        name="hugepages",
        status=_needed(),
        found=f"no {_HUGEPAGES}",
        advice="a card needs 1 GiB hugepages (tt-system-tools)",
    )


def _simulator() -> Line:
    simulator = os.environ.get("TT_METAL_SIMULATOR")
    if not simulator:
        return Line(name="simulator", status="ok", found="TT_METAL_SIMULATOR is not set")
    if Path(simulator).exists():
        return Line(name="simulator", status="ok", found=simulator)
    return Line(
        name="simulator", status="fail", found=f"{simulator} does not exist", advice="set TT_METAL_SIMULATOR right"
    )


def _compiler() -> Line:
    places = [Path("/opt/tenstorrent/sfpi")]
    try:
        places.append(find_wheel().folder / "runtime" / "sfpi")
    except MockChipError as error:
        return Line(name="compiler", status="fail", found=str(error), advice=f"pip install ttnn=={TTNN.newest}")
    for place in places:
        if (place / "compiler" / "bin" / "riscv-tt-elf-g++").exists():
            return Line(name="compiler", status="ok", found=str(place))
    advice = "a card needs Tenstorrent's sfpi release; mocked and emulated chips do not"
    return Line(name="compiler", status=_needed(), found="no RISC-V compiler (sfpi)", advice=advice)


def _mocked(arch: str) -> Line:
    name = f"mocked {arch}"
    run = subprocess.run([sys.executable, "-c", _OPEN, arch], capture_output=True, text=True, timeout=300, check=False)
    if run.returncode == 0:
        return Line(name=name, status="ok", found="opens")
    said = [line for line in run.stderr.splitlines() if line.strip()]
    advice = "validation needs it; TTREG_CACHE_DIR moves its folder, and removing that folder has it built anew"
    return Line(name=name, status="fail", found=said[-1] if said else f"exit code {run.returncode}", advice=advice)


def _cache() -> Line:
    try:
        folder = cache_home()
    except DeviceUnavailableError as error:
        return Line(name="cache", status="fail", found=str(error), advice="set TTREG_CACHE_DIR")
    if folder.exists() and not folder.is_dir():
        return Line(name="cache", status="fail", found=f"{folder} is no folder", advice="set TTREG_CACHE_DIR right")
    files = list(islice((Path(at, name) for at, _, names in os.walk(folder) for name in names), _MOST_FILES))
    nbytes = 0
    for file in files:
        with suppress(FileNotFoundError):  # another process may remove it meanwhile
            nbytes += file.lstat().st_size
    at_least = "at least " if len(files) == _MOST_FILES else ""
    advice = "it can be removed at any time" if at_least or nbytes > 1 << 30 else ""
    status: Literal["ok", "warn"] = "warn" if advice else "ok"
    return Line(name="cache", status=status, found=f"{folder}: {at_least}{size(nbytes)}", advice=advice)


def _needed() -> Literal["warn", "fail"]:
    """The severity of a missing part that only a card needs."""
    return "fail" if chip_present() and not os.environ.get("TT_METAL_SIMULATOR") else "warn"
