"""Where an elementwise op is cheaper: on the host, or on a chip with its inputs uploaded. Sets `min_upload_numel`.

Run `python benchmarks/min_upload.py`. The mocked chip has real host costs of ttnn and no device time, so the figures
are what an op costs the host at least. Medians of interleaved rounds, in one process.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table

from ttreg.devices import open_device
from ttreg.settings import Settings

SIZES = tuple(4**exponent for exponent in range(3, 12))
ROUNDS = 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, for each size, the host's `add` beside two uploads and an `add` on the mocked chip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(arguments).rounds
    torch.set_num_threads(1)
    device = open_device(Settings(device="mock"))
    table = Table("elements", "host add µs", "2 uploads + add µs", "ratio", title="float32 add, host and chip")
    for size in SIZES:
        a, b = torch.randn(size), torch.randn(size)
        # A matrix of 64 columns: what a tile layout is made for.
        shaped = a.view(-1, 64), b.view(-1, 64)

        def on_host(a: torch.Tensor = a, b: torch.Tensor = b) -> object:
            return a + b

        def on_chip(shaped: tuple[torch.Tensor, torch.Tensor] = shaped) -> object:
            return device.tt.add(device.upload(shaped[0], "float32"), device.upload(shaped[1], "float32"))

        host, chip = interleaved(on_host, on_chip, rounds)
        table.add_row(str(size), f"{host * 1e6:.1f}", f"{chip * 1e6:.1f}", f"{chip / host:.1f}")
    Console().print(table)


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median seconds of each, taken in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for function, taken in zip((first, second), seconds, strict=True):
            start = perf_counter()
            function()
            taken.append(perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


if __name__ == "__main__":
    main()
