"""What each line of the program had the device and the host do, module by module, over a traced session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..costs.work import Amount
from ..forks import new_lock
from ..places import Place

if TYPE_CHECKING:
    from ..report import LineRow

# Kinds of calls that are kept apart. A program may make new modules and functions for ever.
_MOST = 1 << 14
_SHAPES = 8  # that are kept of a row


@dataclass(frozen=True)
class Kind:
    """Calls that one row stands for."""

    place: Place
    op: str  # or what else was done: "upload", "download"
    placement: str  # or "transfer"
    reason: str = ""


@dataclass
class _Sum:
    count: int = 0
    seconds: float = 0.0
    nbytes: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    amount: Amount = field(default_factory=Amount)
    before: int = 0
    after: int = 0


class Lines:
    """The sums by kind of call; all threads of a session add to them."""

    def __init__(self) -> None:
        self._sums: dict[Kind, _Sum] = {}
        self._lock = new_lock()

    def add(
        self, kind: Kind, seconds: float, nbytes: int, shapes: str, amount: Amount, before: int, after: int
    ) -> None:
        """Add a call: bytes of its inputs, its tensors as text, and the device's memory before and after it."""
        with self._lock:
            if len(self._sums) >= _MOST and kind not in self._sums:
                kind = Kind(Place(), kind.op, kind.placement)
            found = self._sums.setdefault(kind, _Sum())
            found.count += 1
            found.seconds += seconds
            found.nbytes += nbytes
            if shapes in found.shapes or len(found.shapes) < _SHAPES:
                found.shapes[shapes] += 1
            found.amount.add(amount)
            if found.count == 1 or max(before, after) > max(found.before, found.after):
                found.before, found.after = before, after

    def rows(self, arch: str) -> list[LineRow]:
        """The rows in the order in which the program first came to them."""
        from ..report import DeviceWork, LineRow

        with self._lock:
            return [
                LineRow(
                    line=kind.place.where,
                    model=kind.place.model,
                    module=kind.place.path,
                    backward=kind.place.backward,
                    op=kind.op,
                    placement=kind.placement,  # type: ignore[arg-type]
                    reason=kind.reason,
                    count=found.count,
                    seconds=found.seconds,
                    bytes=found.nbytes,
                    shapes=[text for text, _ in found.shapes.most_common() if text],
                    device_calls=dict(found.amount.names.most_common()),
                    work=DeviceWork().plus(found.amount, arch) if found.amount.calls else None,
                    memory_before=found.before,
                    memory_after=found.after,
                )
                for kind, found in self._sums.items()
            ]
