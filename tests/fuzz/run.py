"""`make fuzz`: gives every target texts at random, shows those that it fails on, and keeps the figures for the page."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

from .engine import Run, fuzz
from .targets import TARGETS

ABOUT = (
    "Everything that reads text which others write is given texts at random: samples that are right, with pieces "
    "replaced, cut out and repeated; those that reach lines of ttreg which none has reached before are changed again. "
    "Kept is the promise if nothing but a `TtregError` with a message comes out, which the command line shows with "
    "exit code 2; a traceback from inside or ten seconds for one text break it."
)


def result(runs: dict[str, Run], seconds: float) -> dict[str, Any]:
    """What the page of reliability shows."""
    inputs, found = sum(run.inputs for run in runs.values()), sum(len(run.found) for run in runs.values())
    return {
        "title": "Bad input",
        "command": "make fuzz",
        "about": ABOUT,
        "when": date.today().isoformat(),
        "seconds": round(seconds, 1),
        "promises": [
            {
                "promise": "A clear error, no traceback from inside",
                "figure": f"{found} tracebacks in {inputs:,} texts",
                "kept": not found and inputs >= 200_000,
            }
        ],
        "tables": [
            {
                "title": "By what reads it",
                "rows": [
                    {
                        "read": name,
                        "texts": run.inputs,
                        "refused": run.refused,
                        "that reached new lines": len(run.corpus),
                        "tracebacks": len(run.found),
                    }
                    for name, run in runs.items()
                ],
            }
        ],
    }


def main() -> int:
    """Fuzz every target; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000, help="texts in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="keep the figures for docs/reliability.md")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    share = -(-given.inputs // sum(target.share for target in TARGETS))
    runs, start = {}, time.monotonic()
    for target in TARGETS:
        run = runs[target.name] = fuzz(target, share * target.share, given.seed)
        print(f"{target.name}: {run.inputs:,} texts, {run.refused:,} refused, {len(run.found)} tracebacks", flush=True)
        for found in run.found.values():
            print(f"\n{found.text!r}\n{found.how}", file=sys.stderr, flush=True)
    if given.save:
        _reliability().save("fuzz", result(runs, time.monotonic() - start))
    return int(any(run.found for run in runs.values()))


def _reliability() -> Any:
    path = Path(__file__).resolve().parents[2] / "scripts" / "reliability.py"
    spec = importlib.util.spec_from_file_location("reliability", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
