"""Draws a session's part of a trace: a lane for each kind of work shows when it was busy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .models import Report

WIDTH = 2000  # columns of a lane; narrower events are merged with their neighbours
HOW = 'run it as "ttreg run --trace t.json …", or under device_mode(trace="t.json"), and save its report anew'


class NoTimelineError(Exception):
    """There is no timeline to draw; the message says why, and what to do."""


@dataclass
class Block:
    """A stretch of time in which a lane was busy."""

    start: float
    end: float
    count: int
    longest: str  # the name of the longest of its events
    milliseconds: float  # that it took

    @property
    def text(self) -> str:
        """What the block stands for."""
        one = f"{self.longest}, {self.milliseconds:.3g} ms"
        return one if self.count == 1 else f"{self.count} events, the longest {one}"


@dataclass
class Lane:
    """A lane, and its blocks from left to right."""

    name: str
    kind: str = ""  # of its events: a placement, or "transfer"
    events: int = 0
    blocks: list[Block] = field(default_factory=list)

    def add(self, start: float, end: float, name: str, milliseconds: float) -> None:
        """Add an event. Events of a lane come in the order in which they end, so nested events come first."""
        self.events += 1
        new = Block(start, end, 1, name, milliseconds)
        while self.blocks and (self.blocks[-1].end > start or (end - start < 1 and start - self.blocks[-1].end < 1)):
            last = self.blocks.pop()
            longest = max(last, new, key=lambda block: block.milliseconds)
            ends = min(last.start, new.start), max(last.end, new.end)
            new = Block(*ends, last.count + new.count, longest.longest, longest.milliseconds)
        self.blocks.append(new)


@dataclass
class Timeline:
    """The lanes in which something happened, and how long it all took."""

    lanes: list[Lane]
    milliseconds: float

    @property
    def ticks(self) -> list[str]:
        """What stands below a fifth of the width each."""
        return [f"{self.milliseconds * part / 5:.3g} ms" for part in range(6)]


def timeline(report: Report, folder: Path | None = None) -> Timeline:
    """The timeline of the report's trace, which is where it was written or, under the same name, in `folder`.

    Raises NoTimelineError if there is none.
    """
    if report.trace is None:
        raise NoTimelineError(f"The program ran without a trace: {HOW}.")
    written = Path(report.trace.file)
    path = next((p for p in (written, (folder or written.parent) / written.name) if p.is_file()), None)
    if path is None:
        raise NoTimelineError(f"The trace {written} is gone: put it back or beside the report, or {HOW}.")
    try:
        return _drawn(path, report.trace.process)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"
        raise NoTimelineError(f"The trace {path} is not as ttreg writes it ({said}): {HOW}.") from None


def _drawn(path: Path, process: int) -> Timeline:
    # Read the file twice, so that a long trace is not kept in memory. The first pass finds start and end.
    lanes: dict[int, Lane] = {}
    first, last = float("inf"), 0.0
    for event in _events(path, process):
        if event["ph"] == "X":
            first, last = min(first, event["ts"]), max(last, event["ts"] + event["dur"])
        elif event["name"] == "thread_name":
            lanes[event["tid"]] = Lane(str(event["args"]["name"]))
    if first > last:
        raise NoTimelineError(f"The trace {path} has nothing of this session: {HOW}.")
    scale = WIDTH / max(last - first, 1e-3)
    for event in _events(path, process):
        if event["ph"] == "X":
            lane = lanes[event["tid"]]
            lane.kind = lane.kind or str(event["cat"])
            start = (event["ts"] - first) * scale
            lane.add(start, start + event["dur"] * scale, str(event["name"]), event["dur"] / 1000)
    return Timeline([lane for lane in lanes.values() if lane.events], (last - first) / 1000)


def _events(path: Path, process: int) -> Iterator[dict[str, Any]]:
    with path.open() as lines:
        for line in lines:
            text = line.strip().rstrip(",")
            if text not in ("[", "]", ""):
                event = json.loads(text)
                if event["pid"] == process:
                    yield event
