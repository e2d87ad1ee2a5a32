"""Writes the generated part of docs/performance.md, and its plots, from the figures in benchmarks/results.

`make performance` measures first and writes the benchmarks' output to `*.json.new`. This script then replaces the old
figures; for single ops it keeps the medians of each family. Without such files, it uses the old figures.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from ttreg.bench.ops import WAYS

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS, RESULTS = ROOT / "benchmarks", ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
MARKS = "<!-- {} of what scripts/performance.py writes: {} -->"


def main() -> None:
    """Bring the page and the plots up to date."""
    for new in RESULTS.glob("*.json.new"):
        found = json.loads(new.read_text())
        summary = families(found) if "rows" in found else found
        new.with_suffix("").write_text(json.dumps(summary, indent=1) + "\n")
        new.unlink()
    sys.path.append(str(BENCHMARKS))  # what a benchmark shares with others lies beside it
    for name in ("overhead", "models"):
        found = result(name)
        runpy.run_path(str(BENCHMARKS / f"{name}.py"))["draw"](found, str(PAGE.with_name(f"performance-{name}.svg")))
    PAGE.write_text(page(PAGE.read_text()))


def page(text: str) -> str:
    """The page, with new text between its marks."""
    sections = {
        "overhead": overhead,
        "parts": parts,
        "models": models,
        "replay": replay,
        "handwritten": handwritten,
        "decoding": decoding,
        "exact": exact,
        "flat": flat,
        "ops": ops,
    }
    for name, lines in sections.items():
        start, end = MARKS.format("start", name), MARKS.format("end", name)
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        body = "\n".join([*lines(result(name))])
        text = f"{before}{start}\n\n{body}\n\n{end}{after}"
    return text


def result(name: str) -> dict[str, Any]:
    """What one benchmark found."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def overhead(figures: dict[str, Any]) -> Iterator[str]:
    """The tables of benchmarks/overhead.py."""
    ops = figures["ops"]
    names = list(dict.fromkeys(name for op in ops.values() for name in op["microseconds"]))
    yield f"{machine(figures)}; medians of {figures['rounds']} samples of {figures['calls']} calls, in µs a call.\n"
    yield row("op", *names)
    yield row(*["---"] * (len(names) + 1))
    for name, op in ops.items():
        yield row(name, *(f"{op['microseconds'][n]:.1f}" if n in op["microseconds"] else "–" for n in names))
    yield ""
    ratios = list(figures["median"])
    yield row("op", "ttnn calls", *ratios)
    yield row(*["---"] * (len(ratios) + 2))
    for name, op in ops.items():
        yield row(name, op["ttnn_calls"], *(f"{op['ratios'][ratio]:.2f}" for ratio in ratios))
    yield row("median", "", *(f"{figures['median'][ratio]:.2f}" for ratio in ratios))


def parts(figures: dict[str, Any]) -> Iterator[str]:
    """The table of benchmarks/parts.py."""
    yield f"{machine(figures)}; medians of {figures['rounds']} samples, in µs.\n"
    yield row("part of an addition", "warm", "cold")
    yield row(*["---"] * 3)
    for name, warm in figures["parts"].items():
        yield row(name, f"{warm:.1f}", f"{figures['cold'][name]:.1f}" if name in figures["cold"] else "")


def flat(figures: dict[str, Any]) -> Iterator[str]:
    """The figures of benchmarks/flat.py."""
    yield row("an addition through ttreg ÷ the same in ttnn, and memory", "figure")
    yield row("---", "---")
    for name, figure in figures.items():
        yield row(name, f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}")


def models(figures: dict[str, Any]) -> Iterator[str]:
    """The tables of benchmarks/models.py."""
    found, ratios = figures["models"], list(figures["median"])
    ways = list(next(iter(found.values()))["milliseconds"])
    yield f"{machine(figures)}; medians of {figures['rounds']} forwards, in ms.\n"
    yield row("model", *ways, *ratios)
    yield row(*["---"] * (len(ways) + len(ratios) + 1))
    for name, model in found.items():
        times = [f"{model['milliseconds'][way]:.1f}" for way in ways]
        yield row(name, *times, *(f"{model['ratios'][ratio]:.2f}" for ratio in ratios))
    yield row("median", *[""] * len(ways), *(f"{figures['median'][ratio]:.2f}" for ratio in ratios))
    yield "\nThe second forward, and the most memory that was in use:\n"
    headings = ("ttnn calls", "uploads (inputs)", "of weights", "downloads (outputs read)", "KiB up", "KiB down")
    yield row("model", *headings, "MiB of DRAM", "MiB resident")
    yield row(*["---"] * (len(headings) + 3))
    for name, model in found.items():
        second = model["second_forward"]
        yield row(
            name,
            model["ttnn_calls"],
            f"{second['uploads']} ({model['inputs']})",
            second["weight_uploads"],
            f"{second['downloads']} ({model['outputs_read']})",
            f"{second['upload_bytes'] / 1024:.1f}",
            f"{second['download_bytes'] / 1024:.1f}",
            f"{model['most_dram_bytes'] / 2**20:.0f}",
            f"{model['most_resident_bytes'] / 2**20:.0f}",
        )


def replay(figures: dict[str, Any]) -> Iterator[str]:
    """The table of benchmarks/replay.py."""
    programs, ratios = figures["programs"], list(figures["median"])
    ways = list(next(iter(programs.values()))["milliseconds"])
    yield f"{machine(figures)}; medians of {figures['rounds']} samples, in ms of processor time a call.\n"
    yield row("program", "ttnn calls", *ways, *ratios)
    yield row(*["---"] * (len(ways) + len(ratios) + 2))
    for name, found in programs.items():
        times = [f"{found['milliseconds'][way]:.1f}" for way in ways]
        yield row(name, found["ttnn_calls"], *times, *(f"{found['ratios'][ratio]:.2f}" for ratio in ratios))
    yield row("median", "", *[""] * len(ways), *(f"{figures['median'][ratio]:.2f}" for ratio in ratios))


def handwritten(figures: dict[str, Any]) -> Iterator[str]:
    """The tables of benchmarks/handwritten.py, one for each dtype."""
    yield f"{machine(figures)}; medians of {figures['rounds']} forwards. ttreg / hand-written:"
    ways = ("ttreg", "hand-written")
    counted = {"ttnn_calls": "ttnn calls", "first_programs": "programs at first", "later_programs": "a forward later"}
    for dtype, middle in figures["median"].items():
        yield ""
        yield row(dtype, *counted.values(), "a token", "MiB of DRAM", "ms", *middle)
        yield row(*["---"] * (len(counted) + len(middle) + 4))
        for name, model in figures["models"].items():
            found = model[dtype]
            cells = [" / ".join(str(found[way][count]) for way in ways) for count in counted]
            tokens = [found[way]["programs_per_token"] for way in ways]
            cells.append("–" if None in tokens else " / ".join(f"{each:.1f}" for each in tokens))
            cells.append(" / ".join(f"{found[way]['most_dram_bytes'] / 2**20:.0f}" for way in ways))
            cells.append(" / ".join(f"{found['milliseconds'][way]:.1f}" for way in ways))
            yield row(name, *cells, *(f"{found['ratios'][ratio]:.2f}" for ratio in middle))
        yield row("median", *[""] * (len(counted) + 3), *(f"{value:.2f}" for value in middle.values()))


def decoding(figures: dict[str, Any]) -> Iterator[str]:
    """The table of benchmarks/decoding.py."""
    yield f"New device programs, while {figures['tokens']} tokens are generated one by one:\n"
    yield row(
        "model, device", "prompt", "first token", "each token after it, mean", "most", "all of it again", "by call"
    )
    yield row(*["---"] * 7)
    for name, case in figures["cases"].items():
        by_call = ", ".join(f"{call} {count}" for call, count in case["calls"].items())
        counts = [case["prompt"], case["first_token"], f"{case['per_token']:.2f}", max(case["steps"][1:])]
        yield row(name, *counts, case["again"], by_call)


def exact(figures: dict[str, Any]) -> Iterator[str]:
    """The table of benchmarks/exact.py."""
    yield row("model", "ttnn calls, fast", "ttnn calls, exact", "times as many", "calls that cost too much")
    yield row(*["---"] * 5)
    for name, model in figures.items():
        fast, within = model["fast"]["calls"], model["exact"]["calls"]
        yield row(name, fast, within, f"{within / fast:.1f}", model["exact"]["refused"])


def ops(figures: dict[str, Any]) -> Iterator[str]:
    """What `ttreg bench` found, by family."""
    yield f"{machine(figures)}; {figures['calls']} calls, {figures['rounds']} rounds each, in µs a call.\n"
    yield row("family", "calls", *WAYS.values())
    yield row(*["---"] * (len(WAYS) + 2))
    for name, family in figures["families"].items():
        yield row(name, family["calls"], *(f"{family[way]:.1f}" for way in WAYS))


def families(run: dict[str, Any]) -> dict[str, Any]:
    """The medians of each family's calls in a run of `ttreg bench`."""
    rows = [row for row in run["rows"] if not row["error"]]
    found = {}
    for name in sorted({row["family"] for row in rows}):
        of_family = [row for row in rows if row["family"] == name]
        times = {way: round(median(row[way]["microseconds"] for row in of_family), 1) for way in WAYS}
        found[name] = {"calls": len(of_family), **times}
    return {"machine": run["machine"], "rounds": run["rounds"], "calls": len(rows), "families": found}


def machine(figures: dict[str, Any]) -> str:
    """What the figures were measured with."""
    of = figures["machine"]
    return f"One core of {of['cpu']}, Python {of['python']}, torch {of['torch']}, ttnn {of['ttnn']}"


def row(*cells: object) -> str:
    """A row of a table."""
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
