"""The programs in the guides of docs/ run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def programs(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["ttnn.md", "overrides.md", "notebooks.md", "weights.md", "profilers.md"])
def test_programs_of_the_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTREG_DEVICE", "emulated")
    assert programs(page)
    for program in programs(page):
        exec(compile(program, page, "exec"), {"__name__": page})
