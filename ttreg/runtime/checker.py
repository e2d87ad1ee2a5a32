"""What compares the results of a session with the host's, under `check`."""

from __future__ import annotations

from typing import Any, Protocol

from ..devices.base import Value
from ..meta import Meta
from ..plan import Plan


class Checker(Protocol):
    """Compares each device result with the host's, under `check`. Each method raises AccuracyError."""

    def compare(
        self, session: Any, plan: Plan, arguments: dict[str, Value], values: list[Value], args: tuple, kwargs: dict
    ) -> list[Value]:
        """Check that each value of a call agrees with the host's, and return the values."""

    def compare_views(self, session: Any, plan: Plan, parent: Value, source: Meta, made: dict[Meta, Value]) -> None:
        """Check views against the parent's memory, read by their metadata."""

    def compare_relaid(self, session: Any, value: Value, source: Meta, made: dict[Meta, Value]) -> None:
        """Check a value that shows a whole storage under other metadata."""
