"""Every call of a variations file, made on the emulated device and in real ttnn on a mocked chip, and held to CPU.

Run `python benchmarks/coverage.py` (`make coverage`): about an hour on two cores. Without a file it takes the calls of
the published tables of tenstorrent/pytorch2.0_ttnn, and shows beside each op what that system did with them. Values are
seeded and suit the op. Calls that are too far from CPU are wrong; so are moved numbers and integers that differ at all.
What is found of each call is kept as it is found: --resume leaves out what is known, --again host what is known of
other calls than those that the host ran.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from _calls import PUBLISHED, Line, read_lines
from _coverage_page import page, summed
from _trying import work

from ttreg.cli.shared import console
from ttreg.verification.workers import Lost, done

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ("device", "host", "local", "wrong", "error", "refused")

# A worker process is replaced after so many calls, since a mocked chip keeps what it has compiled.
_AT_ONCE = 400


def main(arguments: Sequence[str] | None = None) -> None:
    """Try the calls, and write what was found; exit code 1 if a call is wrong or an error."""
    options = parsed(arguments)
    lines = chosen(read_lines(options.file), options)
    known = {record["key"]: record for record in records_of(options.records)} if options.resume else {}
    left = [line for line in lines if line.key not in known or known[line.key]["outcome"] in options.again]
    left = [] if options.known else left
    options.records.parent.mkdir(parents=True, exist_ok=True)
    with options.records.open("a" if options.resume else "w", encoding="utf-8") as kept:
        for number, record in enumerate(tried_in_turn(left, options), 1):
            known[record["key"]] = record
            print(json.dumps(record), file=kept, flush=True)
            if sys.stderr.isatty():
                print(f"\r{number} of {len(left)}", end="", file=sys.stderr)
    found = summed(lines, known)
    written(found, options)
    if found["totals"]["wrong"] or found["totals"]["error"]:
        sys.exit(1)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("file", nargs="?", type=Path, default=PUBLISHED, help="calls, as docs/coverage.md describes; .xz too")
    add("--only", nargs="+", default=["*"], metavar="OP", help="patterns such as 'aten.conv*'")
    add("--sample", type=int, metavar="N", help="so many of the calls, of each op at least one if there are enough")
    add("--seed", type=int, default=0, help="which ones")
    add("--largest", type=int, metavar="N", help="leave out calls whose tensors have more elements, together")
    add("--resume", action="store_true", help="leave out calls that the records know")
    add("--again", nargs="+", default=[], choices=OUTCOMES, help="but not those with these outcomes")
    add("--known", action="store_true", help="with --resume: run nothing, write what the records know")
    add("--records", type=Path, help="where what is found of each call is kept")
    add("--json", type=Path, help="where the summary goes")
    add("--page", type=Path, help="where the page goes")
    add("--jobs", type=int, default=1, help="worker processes")
    add("--limit", type=float, default=900.0, help="seconds that a call may take")
    add("--arch", default="wormhole_b0", choices=["wormhole_b0", "blackhole"], help="the chip")
    add("--precision", default="preserve", choices=["preserve", "bfloat16"])
    options = parser.parse_args(arguments)
    folder = ROOT / "build" / "coverage"
    whole = options.file == PUBLISHED and options.only == ["*"] and not options.sample and not options.largest
    usual = ROOT / "benchmarks" / "results" / "variations.json", ROOT / "docs" / "variations.md"
    options.json = options.json or (usual[0] if whole else folder / "variations.json")
    options.page = options.page or (usual[1] if whole else folder / "variations.md")
    options.records = options.records or folder / f"{options.file.name.partition('.')[0]}.records.jsonl"
    return options


def chosen(lines: list[Line], options: argparse.Namespace) -> list[Line]:
    """The calls to try, small ones first, each once."""
    lines = list({line.key: line for line in reversed(lines)}.values())[::-1]
    lines = [line for line in lines if any(fnmatch(line.op, pattern) for pattern in options.only)]
    if options.largest is not None:
        lines = [line for line in lines if line.size <= options.largest]
    if options.sample is not None:
        lines = sampled(lines, options.sample, options.seed)
    return sorted(lines, key=lambda line: (line.size, line.number))


def sampled(lines: list[Line], count: int, seed: int) -> list[Line]:
    """So many of the lines: one of each op first, in the order that the seed makes."""
    shuffled = random.Random(seed).sample(lines, len(lines))
    firsts = list({line.op: line for line in reversed(shuffled)}.values())
    others = [line for line in shuffled if line not in firsts]
    return [*firsts, *others][:count]


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """What an earlier run has found; a run that was ended may have left a line that is not whole."""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            yield json.loads(text)
        except ValueError:
            continue


def tried_in_turn(lines: list[Line], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What became of each call."""
    keywords = {"arch": options.arch, "precision": options.precision}
    for start in range(0, len(lines), _AT_ONCE):
        for answer in done(work, (keywords,), lines[start : start + _AT_ONCE], options.limit, options.jobs):
            if isinstance(answer, Lost):
                line = answer.task
                yield {"key": line.key, "line": line.number, "op": line.op, "outcome": "error", "why": answer.why}
            else:
                yield answer[1]


def written(found: dict[str, Any], options: argparse.Namespace) -> None:
    """Write the summary and the page, and print the totals."""
    for path, text in ((options.json, json.dumps(found, indent=1) + "\n"), (options.page, page(found))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    totals = found["totals"]
    console().print(f"{totals['calls']} calls: " + ", ".join(f"{totals[name]} {name}" for name in OUTCOMES))
    console().print(f"written to {options.json} and {options.page}")


if __name__ == "__main__":
    main()
