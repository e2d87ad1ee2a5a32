"""Each fault at every device call of each model, one at a time: `make faults`."""

from __future__ import annotations

import argparse
import datetime
import gc
import runpy
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from . import sweep
from .device import FAULTS, Opened
from .programs import MODELS

ROOT = Path(__file__).resolve().parents[2]
WANTED = ("raise", "fallback")

ABOUT = (
    "The emulated device fails by plan at its n-th call: an upload, a ttnn operation or a download is refused, there "
    "is no memory for it, the device hangs (as ttnn tells after its operation timeout), or it vanishes; once, or from "
    "then on. The program has to end with the right result, or with a `DeviceError`. No "
    "value may be left on the device, and the next session has to work. Each fault is tried at {} that "
    "a model makes, one at a time, with both settings of `on_device_error`."
)


def main() -> None:
    """Try them all, and write the result for docs/reliability.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="try only every n-th call")
    parser.add_argument("--output", type=Path, help="a folder for faults.json, in place of benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, wrong, start = [], Counter[str](), time.monotonic()
    with pytest.MonkeyPatch.context() as monkeypatch:
        opened = Opened(monkeypatch)
        for name in MODELS:
            rows += [_model(opened, name, options.every, wrong)]
            print(rows[-1], flush=True)
    for text, count in wrong.most_common():
        print(f"{count} × {text}")
    made = result(rows, wrong, time.monotonic() - start, options.every)
    save = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))["save"]
    print(save("faults", made, *([options.output] if options.output else [])))


def _model(opened: Opened, name: str, every: int, wrong: Counter[str]) -> dict[str, Any]:
    expected = sweep.on_cpu(name)
    ends: Counter[str] = Counter()
    most = 0
    for wanted in WANTED:
        calls = sweep.calls_of(opened, name, wanted)
        most = max(most, len(calls))
        gc.collect()
        gc.freeze()  # what is there before a run is looked through no more
        for kind, fault in FAULTS.items():
            for at in range(0, len(calls), every):
                end = sweep.tried(opened, name, fault, at, wanted, expected)
                ends[end.how if end.how in ("right", "error") else "wrong"] += 1
                if end.how not in ("right", "error"):
                    wrong[f"{name}, {wanted}, {kind}, at {at} ({calls[at]}): {end.how}"] += 1
            if not sweep.then_works(opened, name, expected):
                wrong[f"{name}, {wanted}, {kind}: the next session fails"] += 1
    return {
        "model": name,
        "device calls": most,
        "faults": ends.total(),
        "right result": ends["right"],
        "DeviceError": ends["error"],
        "anything else": ends["wrong"],
    }


def result(rows: list[dict[str, Any]], wrong: Counter[str], seconds: float, every: int) -> dict[str, Any]:
    """What docs/reliability.md says of the sweep."""
    tries = sum(row["faults"] for row in rows)

    def promise(text: str, *words: str) -> dict[str, Any]:
        count = sum(n for told, n in wrong.items() if any(word in told for word in words))
        of = f"{len(rows) * len(WANTED) * len(FAULTS)} sessions" if words == ("next session",) else f"{tries:,} faults"
        return {"promise": text, "figure": f"broken by {count} of {of}", "kept": not count}

    known = ("a wrong value", "are left", "next session", "raised ", "did not come")
    rest = sum(n for told, n in wrong.items() if not any(word in told for word in known))
    promises = [
        promise("No wrong value", known[0]),
        promise("No crash, and no other exception than `DeviceError`", known[3]),
        promise("No value left on the device after the block", known[1]),
        promise("The next session works (tried once for each kind of fault)", known[2]),
        promise("Each planned fault came", known[4]),
        {"promise": "No hang: each run ended", "figure": f"{tries:,} of {tries:,}", "kept": not rest},
    ]
    return {
        "title": "Faults of the device",
        "command": "make faults" + (f" ARGS='--every {every}'" if every > 1 else ""),
        "about": ABOUT.format("every single call" if every == 1 else f"one of {every} calls"),
        "when": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "promises": promises,
        "tables": [{"title": "By model", "rows": rows}],
    }


if __name__ == "__main__":
    main()
