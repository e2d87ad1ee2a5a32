"""Writes docs/reliability.md from the results that the sweeps leave in benchmarks/results/reliability.

Each sweep writes one file there, with `save` or by itself: `faults.json`, `soak.json`, `fuzz.json`, `extremes.json`,
`distributed.json`. A file that is not there has no section; a file of another name gets one after those. Its content:

    {
      "title": "Faults of the device",              # the heading of its section
      "command": "make faults",                     # what measures it anew
      "about": "One paragraph: what is tried, and what counts as kept.",
      "when": "2026-11-29",                         # a day, may be left out
      "seconds": 312.4,                             # may be left out
      "promises": [                                 # one row of the first table each
        {"promise": "No wrong value", "figure": "0 of 12,345 faults", "kept": true}
      ],
      "tables": [                                   # more tables, may be left out
        {"title": "By model", "rows": [{"model": "CNN", "faults": 1234}]}   # columns in the order of the first row
      ]
    }

Text may have Markdown. `python scripts/reliability.py` writes the page, and its exit code is 1 if a promise is not
kept. `make reliability` does that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "reliability"
PAGE = ROOT / "docs" / "reliability.md"
ORDER = ("faults", "soak", "fuzz", "extremes", "distributed")

HEAD = """# Reliability

What ttreg promises the program above it and the device below it, and what was measured of each promise. The sweeps that
measure are part of the repository; `scripts/reliability.py` writes this page from their results.

If ttnn refuses a call, `on_device_error` says whether the program gets a `DeviceError` or the host takes the call. If
there is no memory, the session first frees what can be made again (uploads of weights and constants, what was derived
from them, views), and makes the call once more. The error says what holds the memory, by op and line of Python. If the
device hangs or vanishes, what only it held is lost: the `DeviceError` names these tensors (`error.lost`), and so does
reading one later. All that the host has stays readable, and the next block opens the device anew. ttnn waits for a hung
device for ever unless `TT_METAL_OPERATION_TIMEOUT_SECONDS` is set.
"""


def main() -> int:
    """Write the page; 1 if a promise is not kept."""
    found = results()
    PAGE.write_text(page(found))
    broken = [f"{one['title']}: {row['promise']}" for one in found for row in one["promises"] if not row["kept"]]
    for promise in broken:
        print(f"not kept: {promise}", file=sys.stderr)
    return int(bool(broken))


def results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The sweeps' results, in the order of the page."""
    files = {path.stem: path for path in sorted(folder.glob("*.json"))}
    names = [name for name in ORDER if name in files] + [name for name in files if name not in ORDER]
    return [json.loads(files[name].read_text()) for name in names]


def save(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a sweep's result, where the page looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return path


def page(found: list[dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for one in found for line in section(one))])


def section(one: dict[str, Any]) -> Iterator[str]:
    """The lines of one sweep."""
    took = f" in {one['seconds']:,.0f} s" if one.get("seconds") else ""
    when = f", measured on {one['when']}{took}" if one.get("when") else ""
    yield f"## {one['title']}\n"
    yield f"{one['about']}\n"
    yield f"`{one['command']}`{when}.\n"
    yield from table(
        [{"promise": r["promise"], "measured": r["figure"], "kept": _kept(r["kept"])} for r in one["promises"]]
    )
    for more in one.get("tables", []):
        yield f"### {more['title']}\n"
        yield from table(more["rows"])


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Rows as a Markdown table; numbers stand on the right."""
    if not rows:
        return
    columns = list(rows[0])
    right = [all(isinstance(row.get(c), (int, float)) for row in rows) for c in columns]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'|'.join('--:' if is_right else '---' for is_right in right)}|"
    for row in rows:
        yield f"| {' | '.join(_cell(row.get(c, '')) for c in columns)} |"
    yield ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _kept(kept: bool) -> str:
    return "yes" if kept else "**no**"


if __name__ == "__main__":
    sys.exit(main())
