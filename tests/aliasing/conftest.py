"""Prints how many random programs ran."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []) if r.when == "call"]
    runs = [r for r in reports if "programs" in dict(r.user_properties)]
    if runs:
        programs, failed = sum(dict(r.user_properties)["programs"] for r in runs), sum(r.failed for r in runs)
        terminalreporter.write_line(f"{programs:,} random programs in {len(runs)} runs; {failed} runs differ from CPU")
