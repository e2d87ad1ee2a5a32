"""The programs in the guides of docs/ run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import ttreg

DOCS = Path(__file__).parent.parent / "docs"


def programs(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


# What a page's program takes for granted.
GIVEN = {"recording.md": {"model": torch.nn.Linear(64, 64), "batches": [torch.rand(64, 64)] * 3}}
PAGES = [
    *("coverage.md", "notebooks.md", "numerics.md", "overrides.md", "profilers.md", "recording.md", "ttnn.md"),
    "weights.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_programs_of_the_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTREG_DEVICE", "emulated")
    assert programs(page)
    for program in programs(page):
        names = {"__name__": page, "torch": torch, "ttreg": ttreg, **GIVEN.get(page, {})}
        exec(compile(program, page, "exec"), names)


def test_the_page_on_coverage_shows_a_factory():
    names = {}
    exec(programs("coverage.md")[0], names)
    model, image = names["classifier"]()
    assert {parameter.device.type for parameter in model.parameters()} == {image.device.type} == {"meta"}
