"""The mocked chip: real ttnn opens it and runs on it, in whatever state its cache folder was."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ttreg.caches import cache_home
from ttreg.devices import mock_chip, runtime_root
from ttreg.devices.mock_chip import COMPILER, MockChipError, Wheel, environment
from ttreg.devices.null_kernel import null_kernel

ARCHS = ("wormhole_b0", "blackhole")

# Run in a process of its own, for a process has one mocked chip. Prints what a test wants to know as JSON.
SCRIPT = """
import json, os, sys
arch = sys.argv[1]
from ttreg.devices.mock_chip import environment
before = "ttnn" in sys.modules
os.environ.update(environment(arch), LOGURU_LEVEL="ERROR", TT_METAL_LOGGER_LEVEL="Fatal")
imported = "ttnn" in sys.modules and not before
import torch, ttnn

device = ttnn.open_device(device_id=0, l1_small_size=65536)

def tensor(*shape, dtype=ttnn.bfloat16, layout=ttnn.TILE_LAYOUT):
    return ttnn.from_torch(torch.zeros(shape), dtype=dtype, layout=layout, device=device)

a, table = tensor(1, 1, 64, 64), tensor(10, 64, layout=ttnn.ROW_MAJOR_LAYOUT)
indices = tensor(1, 32, dtype=ttnn.uint32, layout=ttnn.ROW_MAJOR_LAYOUT)
image = tensor(1, 1, 256, 32, layout=ttnn.ROW_MAJOR_LAYOUT)
filters = ttnn.from_torch(torch.zeros(32, 32, 3, 3))
calls = dict(
    add=lambda: ttnn.add(a, a),
    matmul=lambda: ttnn.matmul(a, a),
    softmax=lambda: ttnn.softmax(a, dim=-1),
    permute=lambda: ttnn.permute(a, (0, 1, 3, 2)),
    typecast=lambda: ttnn.typecast(a, ttnn.float32),
    embedding=lambda: ttnn.embedding(indices, table),
    gelu=lambda: ttnn.gelu(a),
    sum=lambda: ttnn.sum(a, dim=-1),
    concat=lambda: ttnn.concat([a, a], dim=-1),
    conv2d=lambda: ttnn.conv2d(
        input_tensor=image, weight_tensor=filters, device=device, in_channels=32, out_channels=32,
        batch_size=1, input_height=16, input_width=16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)),
)
results = {}
for name, call in calls.items():
    result = call()
    results[name] = [list(result.shape), str(result.dtype).rpartition(".")[2].lower()]
grid = device.compute_with_storage_grid_size()
opened = str(device.arch()).rpartition(".")[2].lower()
ttnn.close_device(device)
print(json.dumps(dict(imported=imported, arch=opened, grid=[grid.x, grid.y], results=results,
                      left=os.listdir("."))))
"""

RESULTS = {
    "add": [[1, 1, 64, 64], "bfloat16"],
    "matmul": [[1, 1, 64, 64], "bfloat16"],
    "softmax": [[1, 1, 64, 64], "bfloat16"],
    "permute": [[1, 1, 64, 64], "bfloat16"],
    "typecast": [[1, 1, 64, 64], "float32"],
    "embedding": [[1, 32, 64], "bfloat16"],
    "gelu": [[1, 1, 64, 64], "bfloat16"],
    "sum": [[1, 1, 64], "bfloat16"],
    "concat": [[1, 1, 64, 128], "bfloat16"],
    "conv2d": [[1, 1, 256, 32], "bfloat16"],
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The folder that each test's caches go to; no variable of the user's counts."""
    for name in list(os.environ):
        if name.startswith(("TT_METAL", "TTREG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ttreg"


@pytest.fixture
def wheel(tmp_path_factory, monkeypatch):
    """A folder laid out as the ttnn wheel is, as far as it matters here; taken for the installed one."""
    folder = tmp_path_factory.mktemp("site-packages") / "ttnn"
    for part in ("tt_metal", "ttnn/cpp", "runtime/hw", "runtime/sfpi", "__pycache__"):
        (folder / part).mkdir(parents=True)
    (folder / "tt_metal" / "sfpi-version").write_text("# a comment\nsfpi_version='1.2.3'\nsfpi_build='45'\n")
    monkeypatch.setattr(mock_chip, "find_wheel", lambda: Wheel(folder, "9.8.7"))
    return folder


def run(*archs: str, folder: Path) -> list[dict]:
    """What the script prints for each arch, all started at once in empty folders."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    processes = []
    for number, arch in enumerate(archs):
        (folder / f"cwd{number}").mkdir(exist_ok=True)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, arch],
                cwd=folder / f"cwd{number}",
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


def paths(folder: Path) -> list[Path]:
    """All that is below a folder."""
    return sorted(folder.rglob("*"))


# Real ttnn on it


@pytest.mark.parametrize(("arch", "grid"), [("wormhole_b0", [8, 8]), ("blackhole", [13, 10])])
def test_real_ttnn_opens_the_chip_and_runs_on_it(arch, grid, tmp_path):
    (seen,) = run(arch, folder=tmp_path)
    assert seen["arch"] == arch
    assert seen["grid"] == grid
    assert seen["results"] == RESULTS
    assert seen["left"] == []
    assert not seen["imported"], "preparing the mocked chip must not import ttnn"


def test_two_processes_may_start_from_no_cache_at_once_and_a_third_from_a_damaged_one(tmp_path, home):
    together = run("wormhole_b0", "wormhole_b0", folder=tmp_path)
    assert [one["results"] for one in together] == [RESULTS, RESULTS]

    kernels = [path for path in home.rglob("*.elf") if not path.name.endswith(".xip.elf")]
    assert kernels
    for path in home.rglob("tt-metal-cache*/**/*"):
        if path.is_file():
            path.write_bytes(b"")
    (alone,) = run("wormhole_b0", folder=tmp_path)
    assert alone["results"] == RESULTS
    assert {path.stat().st_size for path in kernels} == {len(null_kernel())}


# The folder


def test_the_folder_is_in_the_users_cache_and_the_wheel_is_not_touched(wheel, home):
    before = paths(wheel)
    first = environment("blackhole")
    root = Path(first["TT_METAL_RUNTIME_ROOT"])
    assert root.is_relative_to(home)
    links = {path.relative_to(root).as_posix(): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}
    assert links == {name: str(wheel / name) for name in ("tt_metal", "ttnn", "runtime/hw")}
    assert (root / COMPILER).is_file()
    assert environment("blackhole") == first
    assert paths(wheel) == before


def test_a_damaged_folder_is_mended(wheel, home):
    env = environment("blackhole")
    before = paths(home)
    root, kernels = Path(env["TT_METAL_RUNTIME_ROOT"]), Path(env["TT_METAL_CACHE"])
    shutil.rmtree(root / "runtime")
    kernels.rmdir()
    kernels.write_text("")
    assert environment("blackhole") == env
    assert paths(home) == before
    assert kernels.is_dir()


def test_each_chip_has_a_kernel_cache_of_its_own(wheel):
    one, other = map(environment, ARCHS)
    assert one["TT_METAL_RUNTIME_ROOT"] == other["TT_METAL_RUNTIME_ROOT"]
    for name in ("TT_METAL_CACHE", "TT_METAL_MOCK_CLUSTER_DESC_PATH"):
        assert one[name] != other[name]
        assert Path(one[name]).exists()


def test_another_ttnn_or_another_place_of_it_has_a_folder_of_its_own(wheel, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("other") / "ttnn"
    shutil.copytree(wheel, elsewhere)
    roots = [environment("blackhole")["TT_METAL_RUNTIME_ROOT"]]
    for other in (Wheel(wheel, "9.8.8"), Wheel(elsewhere, "9.8.7")):
        monkeypatch.setattr(mock_chip, "find_wheel", lambda other=other: other)
        roots.append(environment("blackhole")["TT_METAL_RUNTIME_ROOT"])
    assert len(set(roots)) == 3
    assert "mock-9.8.8-" in roots[1]


def test_where_the_folder_is(wheel, tmp_path, monkeypatch):
    assert cache_home() == tmp_path / "ttreg"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    assert cache_home() == tmp_path / "someone" / ".cache" / "ttreg"
    monkeypatch.setenv("TTREG_CACHE_DIR", "~/own")
    assert cache_home() == tmp_path / "someone" / "own"
    assert environment("blackhole")["TT_METAL_RUNTIME_ROOT"].startswith(str(tmp_path / "someone" / "own" / "mock-"))


def test_a_simulator_is_put_aside_only_where_there_is_one(wheel, monkeypatch):
    assert "TT_METAL_SIMULATOR" not in environment("blackhole")
    monkeypatch.setenv("TT_METAL_SIMULATOR", "/somewhere/libttsim.so")
    assert environment("blackhole")["TT_METAL_SIMULATOR"] == ""


# What can go wrong


def test_an_unknown_arch_is_refused_with_the_known_ones(home):
    with pytest.raises(ValueError, match="unknown arch 'grayskull'; known are 'wormhole_b0', 'blackhole'"):
        environment("grayskull")
    assert not home.exists()


def test_a_folder_that_cannot_be_made_is_named(wheel, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "file" / "below"))
    with pytest.raises(MockChipError, match=r"file/below/mock-9.8.7-\w+: Not a directory.*TTREG_CACHE_DIR"):
        environment("blackhole")


def test_a_folder_that_may_not_be_written_is_named(wheel, tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()

    def refuse(folder):  # root may write anywhere, so the system's own refusal is played
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(mock_chip, "make_folder", refuse)
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "closed"))
    with pytest.raises(MockChipError, match=r"closed/mock-9.8.7-\w+: Permission denied.*TTREG_CACHE_DIR"):
        environment("blackhole")


def test_a_full_disk_leaves_nothing_behind(wheel, tmp_path, monkeypatch):
    def full(text, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(runtime_root, "_write_program", full)
    with pytest.raises(MockChipError, match=r"No space left on device.*Make room"):
        environment("blackhole")
    assert paths(tmp_path) == []


def test_a_folder_where_no_program_may_run_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setattr(runtime_root, "_write_program", lambda text, path: path.write_text(text))
    with pytest.raises(MockChipError, match="noexec"):
        environment("blackhole")
    assert paths(tmp_path) == []


def test_a_path_that_ttnn_would_hand_to_a_shell_in_pieces_is_refused(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "two words"))
    with pytest.raises(MockChipError, match=r"two words.*without spaces"):
        environment("blackhole")
    assert paths(tmp_path) == []


def test_no_ttnn_is_said_so(monkeypatch):
    monkeypatch.setattr(mock_chip.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MockChipError, match="ttnn is not installed"):
        environment("blackhole")


def test_a_ttnn_that_is_no_wheel_is_said_so(tmp_path, monkeypatch):
    (tmp_path / "ttnn").mkdir()
    (tmp_path / "ttnn" / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ttnn", raising=False)
    with pytest.raises(MockChipError, match="no tt_metal/sfpi-version in"):
        environment("blackhole")


def test_the_version_is_the_installed_wheels(wheel):
    assert mock_chip.compiler_version(Wheel(wheel, "")) == "riscv-tt-elf-g++ (tenstorrent/sfpi:1.2.3[45]) unknown"
    firmware = wheel / "tt_metal" / "pre-compiled" / "123" / "brisc"
    firmware.mkdir(parents=True)
    (firmware / "brisc.elf").write_bytes(b"\x7fELF\0GCC: (tenstorrent/sfpi:1.2.3[45]) 15.1.0\0")
    assert mock_chip.compiler_version(Wheel(wheel, "")) == "riscv-tt-elf-g++ (tenstorrent/sfpi:1.2.3[45]) 15.1.0"
