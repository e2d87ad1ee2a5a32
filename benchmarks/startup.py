"""How long commands that only answer a question take, beside `import torch`, which most of them need.

Run `python benchmarks/startup.py`. Each command is a process of its own, measured to its end: the seconds that its
threads computed, and those that passed. They run in turn, so that a slow minute slows all. "Beyond torch" is the median
difference from `import torch` in the same round. It can be negative: a plain `python` collects garbage during the
import and at exit, and the commands do not.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

ROUNDS = 12
IMPORT = "import torch"
IMPORTS = ("import torch, ttreg", "import torch, ttreg; ttreg.device_mode")
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("config",),
    ("list",),
    ("list", "add"),
    ("show", "add"),
    ("show", "convolution"),
    ("why", "add", "--args", "f32[32, 32], f32[32, 32]"),
    ("why", "cumsum", "--args", "i32[8, 128], 0"),
)


class Taken(NamedTuple):
    """The seconds of a process: what it computed, and from its start to its end."""

    cpu: float
    wall: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print for each command the medians of its seconds, and of what it took beyond the import of torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(arguments).rounds
    commands = {program: [sys.executable, "-c", program] for program in (IMPORT, *IMPORTS)}
    commands |= {f"ttreg {' '.join(q)}": [sys.executable, "-m", "ttreg", *q] for q in QUESTIONS}
    seconds: dict[str, list[Taken]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            taken = run(command)
            if number:  # the first round compiles what has no bytecode yet, and reads it all from the disk
                seconds[name].append(taken)
    headings = "CPU seconds", "beyond torch", "seconds", "beyond torch"
    table = Table("command", *headings, title=f"from start to end, medians of {rounds} rounds")
    for name, found in seconds.items():
        cells = []
        for kind in (0, 1):
            beyond = statistics.median(a[kind] - b[kind] for a, b in zip(found, seconds[IMPORT], strict=True))
            cells.append(f"{statistics.median(one[kind] for one in found):.2f}")
            cells.append("" if name == IMPORT else f"{beyond:+.3f}")
        table.add_row(name, *cells)
    Console().print(table)


def run(command: list[str]) -> Taken:
    """What one process takes, with bytecode kept as Python keeps it unless told otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    # The answer of `why` may be no, which is exit code 1.
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode > 1:
        raise SystemExit(f"{' '.join(command)} ends with {done.returncode}")
    return Taken(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall)


if __name__ == "__main__":
    main()
