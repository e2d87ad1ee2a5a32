"""All soaks of `load`, two at a time: `python -m tests.soak` writes what they found for docs/reliability.md."""

from __future__ import annotations

import argparse
import datetime
import json
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .load import SOAKS, run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600  # seconds after which a soak that has not ended counts as a deadlock
MOST_GROWTH = 1.0  # percent

ABOUT = (
    "Random calls of {ops} functions: on the emulated device with random shapes, others after each thousand calls (one "
    "call in 32 is compared with CPU), and on a mocked chip of real ttnn, which keeps the programs of all shapes, "
    "with six. What the session keeps is bounded low, and the first four of ten parts are to warm up. 16 threads and 8 "
    "processes, each with work of its own whose result is known. Children that are forked or spawned inside a block. "
    "Sessions that are opened and closed. Programs that a signal or another thread interrupts at a random time, or "
    "that are interrupted as a random function of ttreg begins: then nothing may be left of the block, and no tensor "
    "of the program may be written in part. Each of these runs in a process of its own."
)


def main() -> int:
    """Run one and print what it found, or all and write their result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", choices=SOAKS)
    parser.add_argument("--share", type=float, default=1, help="make all of them this much shorter")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    parser.add_argument("--output", type=Path, help="a folder for soak.json, in place of benchmarks/results")
    options = parser.parse_args()
    if options.name:
        print(json.dumps(run(options.name, options.share)))
        return 0
    start = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        found = dict(zip(SOAKS, pool.map(lambda name: _in_a_process(name, options.share), SOAKS), strict=True))
    made = result(found, time.monotonic() - start)
    save = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))["save"]
    print(save("soak", made, *([options.output] if options.output else [])))
    broken = [f"{row['promise']}: {row['figure']}" for row in made["promises"] if not row["kept"]]
    print("\n".join(broken))
    return bool(broken)


def _in_a_process(name: str, share: float) -> dict[str, Any]:
    start, command = time.monotonic(), [sys.executable, "-m", "tests.soak", name, "--share", str(share)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"failed": "it did not end"}
    if done.returncode:
        print(name, done.stderr[-4000:], flush=True)
        return {"failed": f"exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {time.monotonic() - start:.0f} s, {found}", flush=True)
    return found


def result(found: dict[str, dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What docs/reliability.md says of them."""
    from .mixes import BINARY, UNARY

    promises: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []

    def promise(text: str, figure: str, kept: bool) -> None:
        promises.append({"promise": text, "figure": figure, "kept": kept})

    failed = [f"{name}: {one['failed']}" for name, one in found.items() if "failed" in one]
    crowds = [one for name in ("threads", "processes") for one in found[name].values() if isinstance(one, dict)]
    stuck = sum(one["stuck"] for one in crowds) + sum(not row["ends"] for row in found["starts"].get("rows", []))
    promise("No deadlock, no crash: each soak ends", "; ".join(failed) or f"{stuck} threads or processes stuck",
            not failed and not stuck)  # fmt: skip
    if failed:
        return _page(promises, tables, seconds, 0)
    for name, where in (("mix_emulated", "emulated device"), ("mix_mocked", "mocked chip")):
        one = found[name]
        promise(f"{where}: resident memory grows by less than {MOST_GROWTH:g} % after the warm-up",
                f"{one['growth']:+.2f} % in {one['aten calls']:,} aten calls", one["growth"] < MOST_GROWTH)  # fmt: skip
        promise(f"{where}: no byte is left on it when the session has ended", f"{one['bytes left']} bytes",
                one["bytes left"] == 0)  # fmt: skip
        tables.append({
            "device": where, "functions called": one["calls"], "aten calls": one["aten calls"],
            "of them on the device": one["on the device"], "compared with CPU": one["compared"],
            "MiB resident, warm": round(one["resident"][3] / (1 << 20)),
            "MiB resident, at the end": round(one["resident"][-1] / (1 << 20)),
        })  # fmt: skip
    one = found["mix_emulated"]
    promise("No wrong value among the calls compared", f"{len(one['wrong'])} of {one['compared']:,}", not one["wrong"])
    wrong, right = sum(c["wrong"] for c in crowds), sum(c["right"] for c in crowds)
    promise("16 threads in one session, 16 with a session each, 8 processes: each has its result", f"{right} of 40",
            not wrong and right == 40)  # fmt: skip
    rows = found["starts"]["rows"]
    good = [row for row in rows if not any("wrong" in str(value) for value in row.values())]
    promise("`fork`, `spawn`, `forkserver` inside a block: a session of the child's own works, the parent goes on, and "
            "the parent's tensor is right in the child or raises `DeviceError`", f"{len(good)} of {len(rows)}",
            len(good) == len(rows))  # fmt: skip
    one = found["sessions"]
    promise("Sessions opened and closed: resident memory grows by less than 1 % after the warm-up, no byte is left on "
            "the device, and threads and open files stay as many",
            f"{one['growth']:.2f} % in {one['sessions']:,}, {one['bytes left']} bytes, {one['threads']:+d} threads, "
            f"{one['files']:+d} files",
            one["growth"] < MOST_GROWTH and one["bytes left"] == 0 == one["wrong"] == max(0, one["files"])
            and one["threads"] <= 0)  # fmt: skip
    one = found["interrupted"]
    broken = "".join(f"; {what}: {count}" for what, count in one["wrong"].items())
    promise("KeyboardInterrupt at a random point: the device is closed, no tensor is written in part, and the next "
            "session gives the right result",
            f"broken by {sum(one['wrong'].values())} of {one['tries']} ({sum(one['met'].values())} came before the "
            f"program's end){broken}", not one["wrong"])  # fmt: skip
    return _page(promises, tables, seconds, len(UNARY) + len(BINARY))


def _page(promises: list[dict[str, Any]], rows: list[dict[str, Any]], seconds: float, ops: int) -> dict[str, Any]:
    return {
        "title": "Load",
        "command": "make soak",
        "about": ABOUT.format(ops=ops),
        "when": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "promises": promises,
        "tables": [{"title": "Random calls", "rows": rows}] if rows else [],
    }


if __name__ == "__main__":
    sys.exit(main())
