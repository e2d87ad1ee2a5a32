"""Plots: how they are made and saved, and that of a run of `ttreg bench`."""

from __future__ import annotations

from statistics import median
from typing import Any

from .ops import WAYS, Benchmark


def draw(benchmark: Benchmark, path: str) -> None:
    """Draw into an SVG, PNG or PDF file how long each op takes in the median of its calls, each way."""
    plt = pyplot()
    rows = [row for row in benchmark.rows if not row.error]
    ops = sorted({row.op for row in rows})
    figure, axes = plt.subplots(figsize=(8, max(2.5, 0.2 * len(ops) + 1)))
    for way in WAYS:
        times = [median(getattr(row, way).microseconds for row in rows if row.op == op) for op in ops]
        axes.plot(times, range(len(ops)), "o", label=way, markersize=4)
    axes.set_yticks(range(len(ops)), [op.removeprefix("aten.") for op in ops], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("µs a call, median of the op's calls")
    axes.grid(alpha=0.3)
    axes.legend()
    save(figure, path)


def pyplot() -> Any:
    """matplotlib's pyplot, without a window; the same data makes the same SVG file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ttreg"})
    return matplotlib.pyplot


def kinds() -> set[str]:
    """The endings of names of files that `save` can write."""
    from matplotlib.backend_bases import FigureCanvasBase

    return set(FigureCanvasBase.get_supported_filetypes())


def save(figure: Any, path: str) -> None:
    """Write the figure into a file of the kind that its name says, and be done with it."""
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)
    pyplot().close(figure)
