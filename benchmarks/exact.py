"""What float32="exact" costs: the ttnn calls of whole models under both settings, on a mocked chip.

Run `python benchmarks/exact.py`; each model has a process of its own, and its second forward is counted, when weights
have been uploaded and split.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from ttreg.cli.shared import console
from ttreg.devices import open_device
from ttreg.exact.cost import TOO_MANY_BYTES, TOO_MANY_CALLS
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.settings import Settings

PROGRAMS = runpy.run_path(str(Path(__file__).with_name("models.py")))["PROGRAMS"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(PROGRAMS)}; all if none")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one model, in this process
    options = parser.parse_args(arguments)
    if unknown := set(options.models) - set(PROGRAMS):
        parser.error(f"no model is named {', '.join(sorted(unknown))}; known are {', '.join(PROGRAMS)}")
    if options.here:
        torch.manual_seed(0)
        registry.load()
        program = PROGRAMS[options.models[0]]()
        print(json.dumps({float32: counted(program, float32) for float32 in ("fast", "exact")}))
        return
    found = {name: in_a_process(name) for name in options.models or PROGRAMS}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    table = Table("model", "ttnn calls, fast", "ttnn calls, exact", "times as many", "products that the host made")
    for name, model in found.items():
        fast, exact = model["fast"]["calls"], model["exact"]["calls"]
        table.add_row(name, str(fast), str(exact), f"{exact / fast:.1f}", str(model["exact"]["refused"]))
    console().print(table)


def in_a_process(name: str) -> dict:
    """The counts of one model."""
    done = subprocess.run([sys.executable, __file__, "--here", name], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Counting:
    """A chip's ttnn, whose calls are counted."""

    def __init__(self, api: Any):
        self.device, self._api, self.calls = api.device, api, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._api, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return found(*args, **kwargs)

        return call


def counted(program: Any, float32: str) -> dict[str, int]:
    """The ttnn calls of a second forward, without uploads and downloads, and the calls of ops that cost too much."""
    settings = Settings(device="mock", float32=float32)
    chip: Any = open_device(settings)
    api, chip.tt = chip.tt, Counting(chip.tt)
    try:
        with torch.no_grad():
            session = Session(settings, chip)
            before, calls = program.run(session), chip.tt.calls
            report, calls = program.run(session), chip.tt.calls - calls
            session.close()
    finally:
        chip.tt = api
    dear = {refusal.condition for refusal in (TOO_MANY_BYTES, TOO_MANY_CALLS)}
    refused = [sum(row.count for row in of.ops if row.condition in dear) for of in (before, report)]
    return {"calls": calls, "refused": refused[1] - refused[0]}


if __name__ == "__main__":
    main()
