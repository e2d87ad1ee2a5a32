"""Whole models on the device: what ran there, what stayed on the host and why, and how far results are from CPU's.

Run `python benchmarks/model_table.py` (`make models-table`): the models of the published tables of
tenstorrent/pytorch2.0_ttnn beside what that system reached, then current architectures in eval and in training. Weights
are random and seeded, nothing is downloaded. Each model runs in a process of its own; what is found is kept as it is
found, so that --resume leaves out what is known.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from _model_processes import one_by_one
from _models_page import draw, page, summed
from _zoo import Row, rows

from ttreg.cli.shared import console
from ttreg.verification.workers import Lost, done

ROOT = Path(__file__).resolve().parent.parent
TABLES = ("seed", "current")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the models that have no figures yet, and write the page."""
    options = parsed(arguments)
    all_rows = [row for table in options.tables for row in rows(table)]
    wanted = [row for row in all_rows if any(fnmatch(row.key, pattern) for pattern in options.only)]
    if not wanted:
        sys.exit(f"no model is named so; known are {', '.join(row.key for row in all_rows)}")
    known = dict(records_of(options.records)) if options.resume else {}
    left = [row for row in wanted if row.key not in known or (options.failed and "error" in known[row.key])]
    left = [] if options.known else left
    left.sort(key=lambda row: row.mode)  # training, which takes longer, last
    options.records.parent.mkdir(parents=True, exist_ok=True)
    with options.records.open("a" if options.resume else "w", encoding="utf-8") as kept:
        for number, (row, record) in enumerate(in_turn(left, options), 1):
            known[row.key] = record
            print(json.dumps({"key": row.key, **record}), file=kept, flush=True)
            print(f"{number} of {len(left)}: {row.key}: {said_of(record)}", file=sys.stderr, flush=True)
    found = summed(wanted, known)
    for path, text in ((options.json, json.dumps(found, indent=1) + "\n"), (options.page, page(found))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    draw(found, str(options.page.with_name("models-left.svg")))
    console().print(f"{len(wanted)} models, written to {options.json} and {options.page}")
    if any("error" in model for model in found["models"]):
        sys.exit(1)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", nargs="+", default=["*"], metavar="MODEL", help="names or patterns, such as 'resnet*'")
    add("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    add("--jobs", type=int, default=1, help="models at once")
    add("--resume", action="store_true", help="leave out models whose figures are known")
    add("--failed", action="store_true", help="with --resume: but not those that failed")
    add("--known", action="store_true", help="with --resume: run nothing, write what the records know")
    add("--records", type=Path, help="where the figures of each model are kept as they are found")
    add("--json", type=Path, help="where all figures go")
    add("--page", type=Path, help="where the page goes; its plot lies beside it")
    add("--limit", type=float, default=1800.0, help="seconds that a model may take")
    add("--without-ttnn", action="store_true", help="golden values alone, without each call in real ttnn")
    options = parser.parse_args(arguments)
    folder = ROOT / "build" / "models"
    whole = options.only == ["*"] and tuple(options.tables) == TABLES
    usual = ROOT / "benchmarks" / "results" / "model_table.json", ROOT / "docs" / "models.md"
    options.json = options.json or (usual[0] if whole else folder / "model_table.json")
    options.page = options.page or (usual[1] if whole else folder / "models.md")
    options.records = options.records or folder / "records.jsonl"
    return options


def in_turn(left: list[Row], options: argparse.Namespace) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each model with its figures, as they come."""
    told = ({row.key: row for row in left}, not options.without_ttnn)
    for answer in done(one_by_one, told, [row.key for row in left], options.limit, options.jobs):
        if isinstance(answer, Lost):
            yield told[0][answer.task], {"error": answer.why}
        else:
            yield told[0][answer[0]], answer[1]


def records_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an earlier run has found; a run that was ended may have left a line that is not whole."""
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = json.loads(text)
        except ValueError:
            continue
        yield record.pop("key"), record


def said_of(record: dict[str, Any]) -> str:
    """The figures of a model in a few words."""
    if "error" in record:
        return record["error"]
    gradients = f", gradients {record['gradient_pcc']}" if "gradient_pcc" in record else ""
    return (
        f"{record['aten_calls']} calls, {record['host_float']} left, PCC {record['output_pcc']}{gradients}, "
        f"{record['seconds']} s, {record['resident'] / 2**30:.1f} GiB"
    )


if __name__ == "__main__":
    main()
