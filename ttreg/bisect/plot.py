"""The plot of `ttreg bisect`: the error along the program, and what each call adds."""

from __future__ import annotations

from ..bench.plot import pyplot, save
from .measure import Bisection

_NAMED = 5  # calls that the plot labels with their names


def draw(made: Bisection, path: str) -> None:
    """Draw into an SVG, PNG or PDF file the error after each call, and each call's own."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 4))
    known = [row for row in made.calls if row.error is not None]
    axes.plot([row.number for row in known], [row.error or None for row in known], "-", linewidth=1, label="error")
    own = [row for row in known if row.own]
    axes.plot([row.number for row in own], [row.own for row in own], ".", markersize=4, label="own error")
    axes.axhline(made.budget, color="gray", linestyle="--", linewidth=1, label=f"budget {made.budget:g}")
    passing = [row for row in made.passing if row.error is not None]
    axes.plot([row.number for row in passing], [row.error for row in passing], "rv", markersize=4, label="above it")
    for row in passing[:_NAMED]:
        name = f"{row.number} {row.op.split('.')[1]}"
        axes.annotate(name, (row.number, row.error), (0, 5), textcoords="offset points", fontsize=7, ha="center")
    axes.margins(y=0.12)
    if any(row.error for row in known):
        axes.set_yscale("log")
    axes.set_xlabel("call")
    axes.set_ylabel("relative error")
    axes.set_title(f"{made.target} on {made.device} {made.arch}, beside {made.against}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    save(figure, path)
