"""What ttnn's host side costs on a mocked chip: opening it, new programs, calls, and memory over many forward passes.

Run `python benchmarks/chip.py`, or with `--json`. A process has one mocked chip, so `--arch` takes one. The cache is
empty unless `--warm` is given. Times are medians of interleaved rounds. They depend on load, so compare the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import ttreg
from ttreg.devices import open_device
from ttreg.settings import ARCHS, Settings

OPERATIONS = (
    *("exp", "neg", "sqrt", "abs", "sin", "cos", "tanh", "sigmoid", "relu", "gelu", "log", "rsqrt", "square", "sign"),
    *("floor", "ceil", "tan", "erf", "exp2", "expm1"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=ARCHS, default=ARCHS[0])
    parser.add_argument("--rounds", type=int, default=2000, help="calls of ttnn.add, each way")
    parser.add_argument("--programs", type=int, default=20, help="new programs, at most 20")
    parser.add_argument("--passes", type=int, default=1000, help="forward passes")
    parser.add_argument("--warm", action="store_true", help="use the kernels that earlier runs have left")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as cache:
        if not options.warm:
            os.environ["TTREG_CACHE_DIR"] = cache
        figures = measure(options.arch, options.rounds, options.programs, options.passes)
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("what", "figure", title=f"mocked {options.arch}")
    for name, figure in figures.items():
        table.add_row(name.replace("_", " "), f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}")
    Console().print(table)


def measure(arch: str, rounds: int, programs: int, passes: int) -> dict[str, Any]:
    """All figures by name, with their units."""
    torch.set_num_threads(1)
    import_seconds = seconds(import_ttnn)
    settings = Settings(device="mock", arch=arch)
    open_seconds = seconds(lambda: open_device(settings))
    with ttreg.device_mode(device="mock", arch=arch, min_upload_numel=0) as session:
        device = session.tt.device
        first = first_calls(session, programs)
        direct, ours = adds(session, rounds)
    return {
        "import_ttnn_seconds": import_seconds,
        "open_seconds": open_seconds,
        "first_call_of_a_new_program_ms": statistics.median(first) * 1e3,
        "direct_add_us": direct * 1e6,
        "add_through_ttreg_us": ours * 1e6,
        "ratio": ours / direct,
        **memory(device, arch, passes),
    }


def import_ttnn() -> None:
    """Import ttnn as a session does."""
    with ttreg.device_mode(device="emulated"):
        pass


def seconds(function: Callable[[], object]) -> float:
    """What one call takes."""
    start = perf_counter()
    function()
    return perf_counter() - start


def first_calls(session: ttreg.Session, count: int) -> list[float]:
    """Seconds of the first calls of so many of ttnn's operations."""
    x = session.device.upload(torch.zeros(64, 96), "bfloat16")
    operations = [getattr(session.tt, name) for name in OPERATIONS[:count]]
    return [seconds(partial(operation, x)) for operation in operations]


def adds(session: ttreg.Session, rounds: int) -> tuple[float, float]:
    """Median seconds of ttnn.add, and of torch.add on tensors of the device, taken in turn."""
    import ttnn

    x = session.to_device(torch.rand(64, 64).bfloat16())
    value = session.value(x)
    direct, ours = [], []
    for _ in range(rounds + 1):
        direct.append(seconds(lambda: ttnn.add(value, value)))
        ours.append(seconds(lambda: torch.add(x, x)))
    return statistics.median(direct[1:]), statistics.median(ours[1:])


def memory(device: Any, arch: str, passes: int) -> dict[str, int]:
    """Bytes of DRAM in use in each bank over the forward passes of a small CNN."""
    convolution = (torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    model = torch.nn.Sequential(*convolution, torch.nn.Flatten(), torch.nn.Linear(8 * 16 * 16, 10)).eval()
    image = torch.rand(1, 3, 32, 32)
    used = []
    with ttreg.device_mode(device="mock", arch=arch, min_upload_numel=0), torch.no_grad():
        for _ in range(passes):
            model(image).tolist()
            used.append(dram_in_use(device))
    device.clear_program_cache()  # programs keep tables of their own on the device
    return {
        "forward_passes": passes,
        "dram_after_the_first_pass": used[0],
        "dram_after_the_last_pass": used[-1],
        "most_dram_after_a_pass": max(used),
        "dram_after_the_block": dram_in_use(device),
    }


def dram_in_use(device: Any) -> int:
    """Bytes allocated in each bank of the chip's DRAM."""
    import ttnn

    return ttnn.get_memory_view(device, ttnn.BufferType.DRAM).total_bytes_allocated_per_bank


if __name__ == "__main__":
    main()
