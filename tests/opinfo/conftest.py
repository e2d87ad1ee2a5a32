"""Warnings at each cause, and the share of samples that ran wholly on the device."""

from __future__ import annotations

from collections import Counter

import pytest
import torch


@pytest.fixture(autouse=True)
def _warn_always():
    """PyTorch gives many warnings once per process, which would come on CPU and not again."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def pytest_terminal_summary(terminalreporter):
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call" and "float32-host" in report.nodeid:
                counts.update({name: count for name, count in report.user_properties if name in ("samples", "wholly")})
    if counts["samples"]:
        share = counts["wholly"] / counts["samples"]
        terminalreporter.write_line(
            f"op_db, float32: {counts['wholly']} of {counts['samples']} samples ran wholly on the device ({share:.1%})"
        )
