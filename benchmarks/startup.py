"""How long commands that only answer a question take, beside `import torch`, which most of them need.

Run `python benchmarks/startup.py`. Each command is a process of its own, timed to its end. They run in turn, so that a
slow minute slows all. "Beyond torch" is the median difference from `import torch` in the same round. It can be
negative: a plain `python` collects garbage during the import and at exit, and the commands do not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter

from rich.console import Console
from rich.table import Table

ROUNDS = 12
IMPORT = "import torch"
QUESTIONS: tuple[tuple[str, ...], ...] = (
    ("--help",),
    ("config",),
    ("list",),
    ("list", "add"),
    ("show", "add"),
    ("show", "convolution"),
    ("why", "add", "--args", "f32[32, 32], f32[32, 32]"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print for each command the median of its seconds, and of what it took beyond the import of torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(arguments).rounds
    commands = {IMPORT: [sys.executable, "-c", IMPORT]}
    commands |= {f"ttreg {' '.join(q)}": [sys.executable, "-m", "ttreg", *q] for q in QUESTIONS}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            taken = run(command)
            if number:  # the first round compiles what has no bytecode yet, and reads it all from the disk
                seconds[name].append(taken)
    table = Table("command", "seconds", "beyond torch", title=f"from start to end, medians of {rounds} rounds")
    for name, taken_by_it in seconds.items():
        beyond = statistics.median(a - b for a, b in zip(taken_by_it, seconds[IMPORT], strict=True))
        table.add_row(name, f"{statistics.median(taken_by_it):.2f}", "" if name == IMPORT else f"{beyond:+.2f}")
    Console().print(table)


def run(command: list[str]) -> float:
    """The seconds of one process, with bytecode kept as Python keeps it unless told otherwise."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return perf_counter() - start


if __name__ == "__main__":
    main()
