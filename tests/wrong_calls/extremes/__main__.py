"""`make extremes`: every entry with extreme values and shapes, beside the CPU; keeps the figures for the page."""

from __future__ import annotations

import argparse
import datetime
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch

from .sweep import ENTRIES, Found, sweep

ROOT = Path(__file__).resolve().parents[3]

ABOUT = (
    "{} of every entry, in which one argument at a time has NaN, infinities, -0.0, denormals or the integers at "
    "the ends of its dtype among its values, or in which all tensors have no elements, no dimension, eight, or (on "
    "meta) more rows than 31 bits can count. What comes has to be as on the CPU, in metadata, values and the type of "
    "an exception, whether the device runs the call or leaves it to the host. On the emulated device; what a chip's "
    "kernels make of such values stands at each op in [docs/ops.md](ops.md)."
)


def result(found: Found, samples: int, seconds: float) -> dict[str, Any]:
    """What docs/reliability.md says of the sweep."""
    tried, wrong = sum(found.tried.values()), len(found.wrong)
    return {
        "title": "Extreme values and shapes",
        "command": "make extremes" + (f" ARGS='--samples {samples}'" if samples != 1 else ""),
        "about": ABOUT.format("A sample" if samples == 1 else f"{samples} samples"),
        "when": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "promises": [
            {
                "promise": "As on the CPU, but for the differences listed below",
                "figure": f"{wrong} of {tried:,} calls differ in another way",
                "kept": not wrong,
            }
        ],
        "tables": [
            {
                "title": "By what a call is given",
                "rows": [{"given": kind, "calls": count} for kind, count in found.tried.items()],
            },
            {
                "title": "Left different",
                "rows": [{"why": why, "calls": count} for why, count in found.known.most_common()],
            },
        ],
    }


def main() -> int:
    """Try all entries; 1 if something differs that is not known to."""
    parser = argparse.ArgumentParser(prog="make extremes", description=__doc__)
    parser.add_argument("--samples", type=int, default=1, help="of each entry")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.monotonic()
    found = sweep(ENTRIES, given.samples)
    print(*found.wrong, sep="\n")
    save = runpy.run_path(str(ROOT / "scripts" / "reliability.py"))["save"]
    print(save("extremes", result(found, given.samples, time.monotonic() - start)))
    return int(bool(found.wrong))


if __name__ == "__main__":
    sys.exit(main())
