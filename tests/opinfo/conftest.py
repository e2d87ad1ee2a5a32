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
            if getattr(report, "when", "") == "call" and "-float32]" in report.nodeid:
                counts.update(dict(report.user_properties))
    if counts["samples"]:
        wholly, samples = counts["wholly on the device"], counts["samples"]
        terminalreporter.write_line(
            f"op_db, float32: {wholly} of {samples} samples ran wholly on the device ({wholly / samples:.1%})"
        )
