"""Amounts as text, for reports and errors alike."""

from __future__ import annotations


def size(count: float) -> str:
    """A number of bytes in a unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
