"""Whether the cost of an op stays constant: with many live tensors, after many ops, and in memory.

Run `python benchmarks/flat.py`, or with `--json`. The chip is mocked. An addition through ttreg is timed
in turn with the same addition made directly in ttnn, on one core. A figure is the median ratio of many samples.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import ttreg
from ttreg.bench.timing import Way, interleaved, median_ratio, pinned

ROUNDS, CALLS = 200, 10  # samples, and calls in each
MEBIBYTE = 1 << 20


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=100_000, help="tensors that are alive at a time")
    parser.add_argument("--ops", type=int, default=1_000_000)
    parser.add_argument("--signatures", type=int, default=1000, help="how many different ones the ops have")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    with pinned():
        figures = measure(options.live, options.ops, options.signatures)
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("what", "figure", title="an op through ttreg ÷ the same in ttnn, and memory")
    for name, figure in figures.items():
        table.add_row(name, f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}")
    Console().print(table)


def measure(live: int, ops: int, signatures: int) -> dict[str, Any]:
    """All figures by name."""
    import ttnn

    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    with torch.no_grad(), ttreg.device_mode(device="mock", min_upload_numel=0) as session:
        x, y = (session.to_device(torch.rand(64, 64)) for _ in range(2))
        values = session.value(x), session.value(y)
        ways = {"ttreg": Way(lambda: torch.add(x, y)), "ttnn": Way(lambda: ttnn.add(*values))}

        def ratio() -> float:
            taken = interleaved(ways, ROUNDS, CALLS)
            return median_ratio(taken["ttreg"], taken["ttnn"])

        numbers = [1 + number / 1024 for number in range(signatures)]
        torch.mul(x, 1.0)
        memory, before = _resident(), ratio()
        for number in range(ops):
            torch.mul(x, numbers[number % signatures])
        figures["before"], figures[f"after {ops:,} ops"] = before, ratio()
        figures["MiB that they added, with their report"] = (_resident() - memory) / MEBIBYTE
        figures["signatures"] = signatures
        figures["rows of the report"] = len(session.report().ops)

        with_few, with_many = [], []
        for _ in range(3):
            with_few.append(ratio())
            small = session.to_device(torch.rand(32))
            held = [small.neg() for _ in range(live)]
            with_many.append(ratio())
            del held
        figures["with 3 live tensors"] = statistics.median(with_few)
        figures[f"with {live:,} live tensors"] = statistics.median(with_many)
    figures["most MiB resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return figures


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
