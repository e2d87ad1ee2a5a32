"""PyTorch's private names stand in one module, and one that is missing is named."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ttreg
from ttreg import pytorch_private
from ttreg.pytorch_private import PARAMETERS_HOLDERS, VIEWS_HOLDERS, storage_use_count

REPOSITORY = Path(ttreg.__file__).parent.parent


def _is_private(path: str) -> bool:
    first, *others = path.split(".")
    return first == "torch" and any(part.startswith("_") and not part.startswith("__") for part in others)


def _private_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (p for p in (f"{node.module}.{name.name}" for name in node.names) if _is_private(p))
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if _is_private(name.name))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
            path = ast.unparse(node)
            if _is_private(path) and not path.startswith(("torch.ops.", "torch.Tensor.")):
                yield path


def test_they_stand_in_one_module():
    found = {}
    for folder in ("ttreg", "ops", "fallback"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            names = set(_private_names(ast.parse(path.read_text())))
            if names:
                found[path.name] = names
    assert found.pop("pytorch_private.py")
    assert not found


@pytest.mark.parametrize("name", ["_storage_Use_Count", "_dispatch_keys", "_RestorePythonTLSSnapshot"])
def test_one_that_is_missing_is_named(name):
    program = f"import torch; del torch._C.{name}; import ttreg.pytorch_private"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    message = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert message.startswith(
        f"ttreg.errors.PyTorchError: ttreg needs torch._C.{name}, which PyTorch {torch.__version__}"
    )
    assert message.endswith("ttreg is tested with torch>=2.14,<2.16")


def test_one_that_is_looked_up_later_is_named(monkeypatch):
    import torch._decomp

    monkeypatch.delattr(torch._decomp, "decomposition_table")
    with pytest.raises(ttreg.TtregError, match=r"needs torch\._decomp\.decomposition_table, which PyTorch"):
        pytorch_private.decompositions()


def test_another_alias_of_a_parameter_shows_in_its_count():
    parameter = torch.nn.Parameter(torch.rand(3))
    assert storage_use_count(parameter.untyped_storage()._cdata) == PARAMETERS_HOLDERS
    view = parameter.view(3)
    assert storage_use_count(view.untyped_storage()._cdata) == VIEWS_HOLDERS
    alias = parameter.data
    assert storage_use_count(alias.untyped_storage()._cdata) > VIEWS_HOLDERS
