"""The environment under which ttnn opens a mocked Tenstorrent chip, with nothing installed besides ttnn."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..caches import cache_home, private_folder
from ..errors import DeviceUnavailableError
from .null_kernel import stand_in_compiler
from .runtime_root import RuntimeRoot, drop_damaged_kernels, make_folder

# The card that represents each architecture. Its description lies next to this file.
CARDS = {"wormhole_b0": "n150.yaml", "blackhole": "p150.yaml"}

# Where ttnn looks for its compiler, below its root.
COMPILER = "runtime/sfpi/compiler/bin/riscv-tt-elf-g++"

# ttnn 0.81.1 puts these paths into shell commands without quoting them.
_PLAIN_PATH = re.compile(r"[\w@%+=:,./-]+")


class MockChipError(DeviceUnavailableError):
    """The mocked chip cannot be prepared: says which folder, what failed, and what to do."""


@dataclass(frozen=True)
class Wheel:
    """The installed ttnn: its package folder and its version."""

    folder: Path
    version: str


def environment(arch: str) -> dict[str, str]:
    """Environment variables under which ttnn opens a mocked chip of `arch`, "wormhole_b0" or "blackhole".

    ttnn reads them when it opens its first device, so set them before that, in a process that opens no other
    chip. They are useless to a real chip, which needs the real compiler. A simulator that the user has set is
    put aside, because ttnn would prefer it.

    All that ttnn then reads of ours and writes stands in one folder of the user's cache, which the first call
    prepares and every other checks, and mends where it is damaged. Any number of processes may do so at once.

    Raises ValueError for an unknown `arch`, and MockChipError where ttnn is not installed or the folder
    cannot be prepared; nothing is left behind then.
    """
    if arch not in CARDS:
        raise ValueError(f"unknown arch {arch!r}; known are {', '.join(map(repr, CARDS))}")
    wheel = find_wheel()
    root = _runtime_root(wheel)
    folder = cache_home() / f"mock-{wheel.version}-{root.digest()}"
    absent = [path for path in (folder / arch, folder, *folder.parents) if not os.path.exists(path)]
    try:
        _prepare(folder, root, arch)
    except OSError as error:
        for path in absent:
            with suppress(OSError):  # not empty: another process is using it
                path.rmdir()
        raise MockChipError(
            f"cannot prepare the mocked chip in {folder}: {error.strerror or error}. "
            "Make room or give access there, or set TTREG_CACHE_DIR (or XDG_CACHE_HOME) to another folder."
        ) from error
    simulator = {"TT_METAL_SIMULATOR": ""} if "TT_METAL_SIMULATOR" in os.environ else {}
    return simulator | {
        "TT_METAL_MOCK_CLUSTER_DESC_PATH": str(Path(__file__).with_name(CARDS[arch])),
        "TT_METAL_RUNTIME_ROOT": str(folder / "root"),
        "TT_METAL_CACHE": str(folder / arch),
        # Without it ttnn leaves a folder `generated` wherever the user stands.
        "TT_METAL_LOGS_PATH": str(folder / arch),
    }


def find_wheel() -> Wheel:
    """The installed ttnn, found without importing it.

    Raises MockChipError where there is none, or one that is not laid out as the wheels are.
    """
    try:
        spec = importlib.util.find_spec("ttnn")
    except (ImportError, ValueError):
        spec = None
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    if not folders:
        raise MockChipError("ttnn is not installed, and the mocked chip is a part of it: pip install ttnn")
    folder = folders[0].resolve()
    for part in ("tt_metal/sfpi-version", "runtime/hw"):
        if not (folder / part).exists():
            raise MockChipError(f"no {part} in {folder}: the mocked chip needs ttnn as its wheels have it")
    try:
        return Wheel(folder, importlib.metadata.version("ttnn"))
    except importlib.metadata.PackageNotFoundError:
        return Wheel(folder, "unknown")


def compiler_version(wheel: Wheel) -> str:
    """What ttnn's own compiler answers to `--version`: with it, ttnn takes the firmware that the wheel holds.

    The wheel names the release; the version of GCC that it is based on stands in the firmware it built. Under
    any other answer ttnn builds firmware as it builds kernels, which is slower but works.
    """
    text = (wheel.folder / "tt_metal" / "sfpi-version").read_text()
    named = dict(re.findall(r"^(\w+)='?([^'\n]*)", text, re.MULTILINE))
    gcc = "unknown"
    for firmware in (wheel.folder / "tt_metal" / "pre-compiled").glob("*/brisc/brisc.elf"):
        if found := re.search(rb"GCC: \(tenstorrent/sfpi:[^)]*\) ([\d.]+)", firmware.read_bytes()):
            gcc = found[1].decode()
            break
    release = f"{named.get('sfpi_version', 'unknown')}[{named.get('sfpi_build', '')}]"
    return f"riscv-tt-elf-g++ (tenstorrent/sfpi:{release}) {gcc}"


def _runtime_root(wheel: Wheel) -> RuntimeRoot:
    # All that the wheel has but a compiler: one for real chips may have been put there.
    entries = [path for path in wheel.folder.iterdir() if path.name not in ("runtime", "__pycache__")]
    entries += [path for path in (wheel.folder / "runtime").iterdir() if path.name != "sfpi"]
    links = {path.relative_to(wheel.folder).as_posix(): str(path) for path in entries if path.is_dir()}
    return RuntimeRoot(links, {COMPILER: stand_in_compiler(compiler_version(wheel))})


def _prepare(folder: Path, root: RuntimeRoot, arch: str) -> None:
    if not _PLAIN_PATH.fullmatch(str(folder)):
        raise OSError(errno.EINVAL, "ttnn needs a path without spaces and other marks that a shell acts on")
    private_folder(folder.parent)
    root.prepare(folder / "root")
    make_folder(folder / arch)
    if not os.access(folder / arch, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    drop_damaged_kernels(folder / arch)
