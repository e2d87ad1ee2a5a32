"""Tables on terminals of any width: no line is too long, and neither figures nor the words of names are cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ttreg.reporting.fitted import Fitted, broken

LONG = "aten._scaled_dot_product_flash_attention_for_cpu.default"
HEADINGS = ("op", "calls", "why", "ttnn calls", "memory")
WHY = "self in {bfloat16, float32}, got int64, because PyTorch accumulates integers in int64"
ROWS = ((LONG, "12050", WHY, "21897", "402.9 MiB"), ("aten.relu.default", "1", "no entry", "", "1.0 MiB"))


def lines(width, least=None):
    console = Console(width=width, file=io.StringIO())
    table = Fitted(*HEADINGS, least=least)
    for row in ROWS:
        table.add_row(*row)
    console.print(table)
    return console.file.getvalue().splitlines()


def cells(shown, column):
    return [line.split("│")[column + 1].strip() for line in shown if line.startswith("│")]


@pytest.mark.parametrize("width", [64, 80, 100, 120])
def test_names_and_figures_stay_whole(width):
    shown = lines(width, least=3)
    assert max(map(len, shown)) <= width
    assert "".join(cells(shown, 0)) == LONG + "aten.relu.default"
    assert all(part.endswith((".", "_", "default")) for part in cells(shown, 0) if part)
    assert [cell for cell in cells(shown, 1) if cell] == ["12050", "1"]
    assert " ".join(cell for cell in cells(shown, 2) if cell) == f"{WHY} no entry"
    if "memory" in shown[1] + shown[2]:
        assert [cell for cell in cells(shown, 4) if cell] == ["402.9 MiB", "1.0 MiB"]
    else:
        assert "memory" in shown[-1]


def test_columns_that_do_not_fit_are_named():
    assert lines(64, least=3)[-1].strip() == "a wider terminal also shows: ttnn calls, memory"
    assert not any("wider" in line for line in [*lines(64), *lines(160, least=3)])


def test_a_wide_terminal_shows_each_row_in_a_line():
    assert cells(lines(200), 0) == [LONG, "aten.relu.default"]


def test_a_name_may_be_broken_again_more_narrowly():
    assert broken(broken("aten.special_bessel_j0.default", 24), 16).splitlines() == [
        "aten.special_",
        "bessel_j0.",
        "default",
    ]
