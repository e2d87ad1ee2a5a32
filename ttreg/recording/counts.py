"""Counts what became of the calls of one recorded function."""

from __future__ import annotations

from collections import Counter
from typing import Any

_MOST_REASONS = 64


class Counts:
    """How often a function was recorded, replayed, and run as it is, with the reasons."""

    def __init__(self, name: str, line: str = ""):
        self.name, self.line = name, line
        self.segments = 0
        self.recordings = self.paths = self.replays = self.checks = self.ttnn_calls = 0
        self.eager_calls: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()
        self.traced = 0  # replays by a trace of the device
        self.untraced: Counter[str] = Counter()

    def row(self) -> dict[str, Any]:
        """All of it, as the report has it."""
        reasons = {"eager": self.eager_calls, "misses": self.misses, "refused": self.refusals}
        reasons |= {"dropped": self.drops, "untraced": self.untraced}
        counts = {
            "recordings": self.recordings,
            "paths": self.paths,
            "segments": self.segments,
            "replays": self.replays,
            "checks": self.checks,
        }
        counts["traced"] = self.traced
        return {
            "name": self.name,
            "line": self.line,
            **counts,
            "steps": self.ttnn_calls,
            **{k: dict(v) for k, v in reasons.items()},
        }

    def untraced_for(self, reason: str) -> None:
        """Count a replay, or a recording, without the trace that was asked for."""
        _count(self.untraced, reason)

    def recorded(self, segments: int, new: bool) -> None:
        """Count a recording with so many segments; one that is not new adds a path to another."""
        self.segments += segments
        self.recordings += new
        self.paths += 1

    def replayed(self, calls: int) -> None:
        """Count a replay of so many steps."""
        self.replays += 1
        self.ttnn_calls += calls

    def checked(self) -> None:
        """Count a replay that agreed with the function's own run."""
        self.checks += 1

    def eager(self, reason: str) -> None:
        """Count a call that ran as it is."""
        _count(self.eager_calls, reason)

    def missed(self, reason: str) -> None:
        """Count a recording that did not hold for a call."""
        _count(self.misses, reason)

    def dropped_for(self, reason: str) -> None:
        """Count a recording that was let go of, to make room."""
        _count(self.drops, reason)

    def refused(self, reason: str) -> None:
        """Count a signature that is not recorded."""
        _count(self.refusals, reason)


def _count(counter: Counter[str], reason: str) -> None:
    counter[reason if reason in counter or len(counter) < _MOST_REASONS else "others"] += 1
