"""Trains a small model on several ranks, a device each, and holds the losses to those of one process.

`python benchmarks/distributed.py` runs DDP, FSDP2, tensor parallelism and pipeline stages with 2 and with 4 ranks on
the emulated device, and lets a rank die and another hang. `--json` prints the results in the form that
`scripts/reliability.py` reads; the exit code is 1 if a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from _training_ranks import end_of_others, run_rank

TOLERANCE, SHARE, TIMEOUT = 1e-5, 0.95, 10.0
COMMAND = "make distributed"
ABOUT = (
    "A small model is trained on the emulated device by ranks of `torch.distributed` over gloo, a process and a device "
    "each: by data (DDP), by shards of the parameters (FSDP2), by parts of its layers (tensor parallelism) and in "
    "stages (a pipeline). What one process gives is the measure. Then one rank leaves in the middle of a training, and "
    f"in another one stops without a word; the group's timeout is {TIMEOUT:.0f} s."
)


def start(ranks: int, function: Callable[..., Any], *args: Any) -> list[tuple[BaseProcess, Connection]]:
    """Start a process for each rank, which are forked since imports take seconds; each sends what it returns."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    forking = multiprocessing.get_context("fork")
    started: list[tuple[BaseProcess, Connection]] = []
    for rank in range(ranks):
        ours, theirs = forking.Pipe(duplex=False)
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": ranks, "RANK": rank, "LOCAL_RANK": rank}
        process = forking.Process(target=_be_rank, args=(theirs, place, function, args), daemon=True)
        process.start()
        theirs.close()
        started.append((process, ours))
    return started


def _be_rank(results: Connection, place: dict[str, Any], function: Callable[..., Any], args: tuple) -> None:
    os.environ.update({name: str(value) for name, value in place.items()})
    results.send(function(*args))
    results.close()
    os._exit(0)  # to leave a group whose other ranks are gone would wait for them


def trainings(ranks: int, steps: int, ways: list[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What each rank measured. Raises EOFError if one fails, whose traceback is on stderr."""
    started = start(ranks, run_rank, ways, steps, settings)
    return [results.recv() for _, results in started]


def death(how: str, settings: dict[str, Any]) -> tuple[str, bool]:
    """How the other rank ends if the last one leaves or hangs, and whether in time and with an error."""
    (_, results), (last, _) = start(2, end_of_others, how, settings, TIMEOUT)
    ended = results.recv()
    last.kill()
    return ended, " after " in ended and float(ended.split(" after ")[1].removesuffix(" s")) <= TIMEOUT + 5


def rows_of(ranks: int, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row of the table for each way."""
    alone = found[0]["ways"].pop("one process")
    rows = []
    for name in found[0]["ways"]:
        each = [rank["ways"][name] for rank in found]
        off = max(abs(a - b) for one in each for a, b in zip(one["losses"], alone["losses"], strict=True))
        floating = [one["device"] / (one["device"] + one["host_float"]) for one in each]
        rows.append(
            {
                "way": name,
                "ranks": ranks,
                "loss off by at most": f"{off:.1e}",
                "local floating-point calls on the device": f"{min(floating):.1%}",
                "calls of a rank": max(one["calls"] for one in each),
                "KiB down": round(max(one["down"] for one in each) / 1024),
                "of it for the group": round(max(one["down for the group"] for one in each) / 1024),
                "kept": off <= TOLERANCE and min(floating) >= SHARE,
            }
        )
    return rows


def result(counts: list[int], steps: int, ways: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The whole comparison."""
    began, rows, needs = time.perf_counter(), [], []
    for ranks in counts:
        found = trainings(ranks, steps, ways, settings)
        rows += rows_of(ranks, found)
        all_of = [way for rank in found for way in rank["ways"].values()]
        needs.append(
            {
                "ranks": ranks,
                "MiB of a rank": round(max(rank["peak_mib"] for rank in found)),
                "s of CPU to open the first device": round(
                    max(next(iter(r["ways"].values()))["opened"] for r in found), 2
                ),
                "µs of CPU a call": round(sum(w["seconds"] for w in all_of) / sum(w["calls"] for w in all_of) * 1e6),
            }
        )
    promises = [
        {
            "promise": f"{row['way']}, {row['ranks']} ranks: the losses of one process to {TOLERANCE:.0e}, at least "
            f"{SHARE:.0%} of the local floating-point calls on the device",
            "figure": f"{row['loss off by at most']}, {row['local floating-point calls on the device']}",
            "kept": row.pop("kept"),
        }
        for row in rows
    ]
    for how in ("leaves", "hangs"):
        ended, kept = death(how, settings)
        promises.append({"promise": f"A rank {how}: the other one ends in time", "figure": ended, "kept": kept})
    return {
        "title": "Distributed",
        "command": COMMAND,
        "about": ABOUT,
        "when": date.today().isoformat(),
        "seconds": round(time.perf_counter() - began, 1),
        "promises": promises,
        "tables": [
            {"title": f"Trainings of {steps} steps", "rows": rows},
            {"title": "What a rank takes", "rows": needs},
        ],
    }


def main() -> int:
    """Compare; 1 if a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="2,4", help="how many, separated by commas")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--ways", default="DDP,FSDP2,tensor parallel,pipeline")
    parser.add_argument("--device", default="emulated")
    parser.add_argument("--json", action="store_true", help="print the results as scripts/reliability.py reads them")
    given = parser.parse_args()
    settings = {"device": given.device}
    found = result([int(n) for n in given.ranks.split(",")], given.steps, given.ways.split(","), settings)
    if given.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        for promise in found["promises"]:
            print(f"{'kept' if promise['kept'] else 'NOT KEPT'}: {promise['promise']}: {promise['figure']}")
    return int(not all(promise["kept"] for promise in found["promises"]))


if __name__ == "__main__":
    sys.exit(main())
