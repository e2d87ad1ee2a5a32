"""What float32="exact" costs: the ttnn calls of whole models under both settings, on a mocked chip.

Run `python benchmarks/exact.py`; each model has a process of its own, and its second forward is counted, when weights
have been uploaded and split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch
from _models import PROGRAMS, Counting, in_a_process, unknown
from rich.table import Table

from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.exact.cost import TOO_MANY_BYTES, TOO_MANY_CALLS
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(PROGRAMS)}; all if none")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one model, in this process
    options = parser.parse_args(arguments)
    if wrong := unknown(options.models, PROGRAMS):
        parser.error(wrong)
    if options.here:
        torch.manual_seed(0)
        registry.load()
        program = PROGRAMS[options.models[0]]()
        print(json.dumps({float32: counted(program, float32) for float32 in ("fast", "exact")}))
        return
    found = {name: in_a_process(__file__, name) for name in options.models or PROGRAMS}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    table = Table("model", "ttnn calls, fast", "ttnn calls, exact", "times as many", "products that the host made")
    for name, model in found.items():
        fast, exact = model["fast"]["calls"], model["exact"]["calls"]
        table.add_row(name, str(fast), str(exact), f"{exact / fast:.1f}", str(model["exact"]["refused"]))
    console().print(table)


def counted(program: Any, float32: str) -> dict[str, int]:
    """The ttnn calls of a second forward, without uploads and downloads, and the calls of ops that cost too much."""
    settings = Settings(device="mock", float32=float32)
    chip: Any = open_device(settings)
    api = chip.tt
    chip.tt = counting = Counting(chip)
    try:
        with torch.no_grad():
            session = Session(settings, chip)
            before, calls = program.run(session), counting.calls.total()
            report, calls = program.run(session), counting.calls.total() - calls
            session.close()
    finally:
        chip.tt = api
    dear = {refusal.condition for refusal in (TOO_MANY_BYTES, TOO_MANY_CALLS)}
    refused = [sum(row.count for row in of.ops if row.condition in dear) for of in (before, report)]
    return {"calls": calls, "refused": refused[1] - refused[0]}


if __name__ == "__main__":
    main()
