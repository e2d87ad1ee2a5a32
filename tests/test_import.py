"""What importing ttreg brings with it, and how it finds the entries of a user's own package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ttreg
from ttreg import RegistryError, SettingsError
from ttreg.registry import registry

LATER = ("ttnn", "pydantic", "rich", "typer", "loguru", "ttreg.report", "ttreg.ops")

PROGRAM = f"""
import sys
import ttreg
print("torch" in sys.modules)
import torch
before = set(sys.modules)
block = ttreg.device_mode(device="emulated")
print([name for name in {LATER} if name in set(sys.modules) - before])
print("ttnn" in sys.modules)
print(ttreg.Report.__module__)
with block:
    print("ttnn" in sys.modules)
"""


def test_importing_ttreg_brings_nothing_its_names_bring_torch_and_a_block_brings_ttnn():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["False", "[]", "False", "ttreg.report", "True"], done.stderr


def test_every_public_name_is_there_and_no_other():
    assert all(getattr(ttreg, name) is not None for name in ttreg.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = ttreg.nonsense


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["--help"], "torch"),
        (["--version"], "torch"),
        (["run", "--help"], "torch"),
        (["config"], "torch"),
        (["list", "cumsum"], "pydantic"),
        (["show", "cumsum"], "rich"),
    ],
)
def test_commands_that_should_answer_at_once_do_without_what_is_slow_to_import(arguments, missing):
    program = (
        f"import sys; sys.argv[1:] = {arguments}; sys.modules[{missing!r}] = None; from ttreg.cli import app; app()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


SLOW = ("ttnn", "sympy", "torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes")
ASKED = (
    ["list"],
    ["why", "add", "--args", "f32[8, 8], f32[8, 8]"],
    ["why", "softmax", "--args", "f64[8, 8], 1"],  # refused: it looks for the nearest call that runs
    ["why", "std", "--args", "f32[8, 8]"],  # in parts
    ["why", "mm", "--args", "f32[8, 8], f32[8, 8]"],
    ["why", "sum", "--args", "f32[8, 8]"],
    ["show", "convolution"],
)
ASKING = f"""
import sys
from ttreg.cli import app
for arguments in {ASKED}:
    try:
        app(arguments)
    except SystemExit:
        slow = {SLOW} if arguments[0] == "show" else {(*SLOW, "pydantic", "rich")}
        print(*arguments, [name for name in slow if name in sys.modules], file=sys.stderr)
"""


def test_questions_about_ops_import_neither_ttnn_nor_what_compiles():
    """Each takes longer to import than the answer does to find."""
    done = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.endswith("]")]
    assert lines == [f"{' '.join(arguments)} []" for arguments in ASKED], done.stderr


WITHOUT_COMPILER = f"""
import sys, torch
from ttreg.without_compiler import without_compiler
scores = torch.empty(2, 3, device="meta")
with without_compiler():
    print(torch.nn.functional.softmax(scores, 1).shape, scores.sum(0).shape, torch.add(scores, 1).shape)
    print([name for name in {SLOW} if type(sys.modules.get(name)).__name__ == "module"])
print([name for name in {SLOW} if name in sys.modules])
with without_compiler():
    from sympy import Symbol
    print(Symbol("x") + 1)
print(type(sys.modules["sympy"]).__name__)
"""


def test_shape_functions_do_without_the_compiler_until_it_is_needed():
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], capture_output=True, text=True, check=False)
    shapes = "torch.Size([2, 3]) torch.Size([3]) torch.Size([2, 3])"
    assert done.stdout.splitlines() == [shapes, "[]", "[]", "x + 1", "module"], done.stderr


ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {ROOT / "ttreg": "ttreg", ROOT / "ops": "ttreg.ops", ROOT / "fallback": "ttreg.fallback"}
# The last is imported where torchvision is.
NOT_MODULES = ("ttreg.__main__", "ttreg.ops.for_torchvision")

# Each in a process of its own, forked where torch is there already.
EACH_FIRST = """
import importlib, os, sys, torch
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        importlib.import_module(name)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"{name} cannot be imported first")
"""


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
def test_each_module_can_be_imported_first(step):
    files = [(folder, file) for folder in FOLDERS for file in folder.rglob("*.py")]
    names = [".".join((FOLDERS[folder], *file.relative_to(folder).with_suffix("").parts)) for folder, file in files]
    names = [name.removesuffix(".__init__") for name in names if name not in NOT_MODULES]
    assert "ttreg.blocks.mode" in names
    some = sorted(names)[::step]
    done = subprocess.run([sys.executable, "-c", EACH_FIRST, *some], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def users_package(tmp_path, monkeypatch):
    """Lays out a module and its metadata as an installer would, and lets the registry load once more."""

    def install(module, source):
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ttreg.ops]\n{module} = {module}\n")
        installed.append(module)

    installed = []
    len(registry)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_loaded", False)
    yield install
    for module in installed:
        sys.modules.pop(module, None)


TRIPLE = """
import torch
from ttreg import lower
from ttreg.conditions import FLOATS, Dtype
from ttreg.samples import Sample, rand


def samples():
    yield Sample(rand(2, 3))


@lower(torch.ops.ttreg_tests.triple.default, samples=samples, takes=FLOATS)
def triple(tt, self):
    return tt.multiply(self, 3.0)
"""


def test_entries_of_a_users_package_are_found_by_their_entry_point(users_package, private_op, device):
    triple = private_op("triple(Tensor self) -> Tensor", lambda self: self * 3)
    users_package("users_ops", TRIPLE)
    ones = torch.ones(2)
    with device as session:
        result = triple(ones)
    assert result.tolist() == [3.0, 3.0]
    assert registry.find(triple).family == "users_ops"
    assert [(row.op, row.placement) for row in session.report().ops] == [("ttreg_tests.triple.default", "device")]


def test_a_users_package_cannot_replace_an_entry(users_package):
    users_package(
        "replacing_ops",
        "from ttreg import aten, cpu_only\ncpu_only(aten.mm.default, because='mine is better', samples=lambda: ())",
    )
    with pytest.raises(RegistryError, match=r"aten\.mm\.default has an entry already, in ttreg\.ops\.") as caught:
        registry.load()
    assert "replacing_ops" in str(caught.value)


def test_a_users_package_that_fails_to_import_is_named_each_time(users_package):
    users_package("broken_ops", "import no_such_module")
    messages = []
    for _ in range(2):
        with pytest.raises(Exception, match="no_such_module") as caught:
            registry.load()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "broken_ops" in messages[0]


STRANGE = {
    "raises": "raise RuntimeError('of its own')",
    "leaves": "import sys; sys.exit(0)",
    "raises what is no Exception": "class Odd(BaseException): pass\nraise Odd('of its own')",
    "raises what has no text": "class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd",
    "is no Python": "def (",
    "has an entry for no op": "from ttreg import cpu_only; cpu_only('mm', because='', samples=list)",
}


@pytest.mark.parametrize("source", STRANGE.values(), ids=STRANGE)
def test_whatever_a_users_package_does_is_an_error_that_names_it_and_the_way_without(source, users_package):
    users_package("strange_ops", source)
    with pytest.raises(RegistryError, match=r"strange_ops.*TTREG_PLUGINS=0"):
        registry.load()


def test_a_package_that_fails_half_way_leaves_no_entries_and_fails_alike_each_time(users_package, private_op):
    triple = private_op("triple(Tensor self) -> Tensor", lambda self: self * 3)
    users_package("half_ops", TRIPLE + "\nraise RuntimeError('half way')")
    for _ in range(2):
        with pytest.raises(RegistryError, match="half way"):
            registry.load()
        assert triple not in registry._entries


def test_metadata_that_cannot_be_read_is_an_error_that_names_the_way_without(users_package, tmp_path):
    users_package("damaged_ops", TRIPLE)
    (tmp_path / "damaged_ops-1.0.dist-info" / "entry_points.txt").write_bytes(b"[ttreg.ops]\n\xff = \xfe\n")
    with pytest.raises(RegistryError, match=r"cannot be read.*TTREG_PLUGINS=0"):
        registry.load()


def test_users_packages_can_be_switched_off(users_package, private_op, monkeypatch):
    triple = private_op("triple(Tensor self) -> Tensor", lambda self: self * 3)
    users_package("users_ops", TRIPLE)
    monkeypatch.setenv("TTREG_PLUGINS", "0")
    registry.load()
    assert registry.find(triple) is None
    assert "users_ops" not in sys.modules
    with ttreg.device_mode(device="emulated"):  # which knows the variable
        pass


def test_a_module_that_no_installed_package_names_is_not_loaded(users_package, private_op, tmp_path):
    private_op("triple(Tensor self) -> Tensor", lambda self: self * 3)
    (tmp_path / "ttreg_ops.py").write_text(TRIPLE)
    (tmp_path / "ttreg").mkdir()
    (tmp_path / "ttreg" / "ops").mkdir()
    (tmp_path / "ttreg" / "ops" / "mine.py").write_text(TRIPLE)
    registry.load()
    assert not {"ttreg_ops", "ttreg.ops.mine"} & set(sys.modules)


def test_a_strange_value_of_the_switch_is_refused(users_package, monkeypatch):
    monkeypatch.setenv("TTREG_PLUGINS", "none")
    with pytest.raises(SettingsError, match="TTREG_PLUGINS is 'none'; expected True or False"):
        registry.load()
