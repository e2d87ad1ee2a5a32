"""Prints how many random programs ran."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter):
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []) if r.when == "call"]
    programs = sum(dict(r.user_properties).get("programs", 0) for r in reports)
    differing = sum("programs" in dict(r.user_properties) for r in reports if r.failed)
    if programs:
        terminalreporter.write_line(f"{programs} random programs, {differing} differing runs of them")
