"""Draws a run of `ttreg bench`."""

from __future__ import annotations

from statistics import median

from .ops import WAYS, Benchmark


def draw(benchmark: Benchmark, path: str) -> None:
    """Draw into an SVG, PNG or PDF file how long each op takes in the median of its calls, each way."""
    import matplotlib

    matplotlib.use("Agg")  # no window
    import matplotlib.pyplot as plt

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
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
