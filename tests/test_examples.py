"""Every script in examples/ runs by itself, and its report shows work on the device."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example(script, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("TTREG_", "PYTEST_"))}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    calls = re.search(r"calls: (\d+) on the device", done.stdout)
    assert calls, done.stdout
    assert int(calls[1]) > 0


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_readme_names(script):
    assert f"examples/{script.name}" in (ROOT / "docs" / "examples.md").read_text()
