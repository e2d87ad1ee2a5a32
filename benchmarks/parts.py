"""The parts of a ttreg call: an addition on a mocked chip, each part timed with warm and with cold caches.

Run `python benchmarks/parts.py`, or with `--json`. Each part is timed alone and many times over, so the processor's
caches are warm; the parts add up to a warm call. In a model, other code runs between two calls of an op. "Cold" times
therefore read 4 MiB of other memory before each call, which evicts the part from the nearer caches.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, _get_current_dispatch_mode

import ttreg
from ttreg.bench.timing import machine, pinned
from ttreg.memory.cell import Cell
from ttreg.memory.tensor import DeviceTensor
from ttreg.runtime.signature import signature

ADD = torch.ops.aten.add.Tensor
CALLS = 20  # in a sample


class ReadyMode(TorchDispatchMode):
    """Returns an output that exists already, so that only PyTorch's way to a mode and back is timed."""

    ready: Any

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.ready


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help=f"samples of {CALLS} calls")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    options = parser.parse_args(arguments)
    with pinned(), torch.no_grad():
        figures = {"machine": machine(), "rounds": options.rounds} | measure(options.rounds)
    if options.json:
        print(json.dumps(figures))
        return
    table = Table("part of an addition", "µs", "µs, cold")
    for name, warm in figures["parts"].items():
        cold = figures["cold"].get(name)
        table.add_row(name, f"{warm:.1f}", "" if cold is None else f"{cold:.1f}")
    Console().print(table)


def measure(rounds: int) -> dict[str, Any]:
    """Microseconds of each part warm, and of some cold."""
    import ttnn

    torch.set_num_threads(1)
    with ttreg.device_mode(device="mock", min_upload_numel=0) as session:
        x, y = given = tuple(session.to_device(torch.rand(64, 64)) for _ in range(2))
        mode: Any = _get_current_dispatch_mode()
        dispatcher = mode._dispatcher
        torch.add(x, y)
        warm = {"all of it": _median(lambda: torch.add(x, y), rounds)}
        cold = {"all of it": _cold(lambda: torch.add(x, y), rounds)}
        with _disable_current_modes():
            key: Any = signature(session, ADD, given, {})
            plan: Any = session.ledger.find(key)
            values = session.value(x), session.value(y)
            arguments = {**plan.constants, "self": values[0], "other": values[1]}
            meta = plan.outputs[0]
            cell = Cell(session, meta, values[0])

            parts: dict[str, Callable[[], Any]] = {
                "the mode's method and what follows": lambda: mode.__torch_dispatch__(ADD, (), given, {}),
                "signature": lambda: signature(session, ADD, given, {}),
                "its plan": lambda: session.ledger.find(key),
                "running the plan": lambda: dispatcher._run_on_device(plan, given, {}),
                "the lowering, with ttnn": lambda: session.lower(plan, arguments),
                "ttnn.add": lambda: ttnn.add(*values),
                "the result's DeviceTensor": lambda: session.new_tensor(meta, values[0]),
                "of it, the wrapper subclass": lambda: DeviceTensor.make(cell, meta),
            }
            warm |= {name: _median(part, rounds) for name, part in parts.items()}
            cold |= {name: _cold(parts[name], rounds) for name in ("the lowering, with ttnn", "ttnn.add")}
    with ReadyMode() as ready:
        ready.ready = x
        warm["PyTorch's way to a mode and back"] = _median(lambda: torch.add(x, y), rounds)
    return {"parts": warm, "cold": cold}


def _median(call: Callable[[], Any], rounds: int) -> float:
    samples = []
    for _ in range(rounds):
        start = perf_counter()
        for _ in range(CALLS):
            call()
        samples.append((perf_counter() - start) / CALLS)
    return statistics.median(samples) * 1e6


def _cold(call: Callable[[], Any], rounds: int) -> float:
    other = torch.ones(1 << 20)
    samples = []
    for _ in range(rounds):
        with _disable_current_modes():
            other.sum()
        start = perf_counter()
        call()
        samples.append(perf_counter() - start)
    return statistics.median(samples) * 1e6


if __name__ == "__main__":
    main()
