"""What the calls of one plan, or of another unit of work, had the device do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from .boards import BOARDS
from .calls import DeviceCall

# Runs 1, 2, 16, 256 and so on of a unit are looked at in detail. The first makes what is kept (prepared weights,
# programs), the second finds it made; the later ones see what has changed since. All others only note names.
_RATE = 16


@dataclass
class Amount:
    """A sum of ttnn calls: how many of each name, and what they cost."""

    names: Counter[str] = field(default_factory=Counter)
    read: int = 0
    written: int = 0
    logical: int = 0
    flops: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(BOARDS, 0.0))
    unseen: int = 0  # of the calls: those of which only the name is known
    peak: int = 0  # bytes of the device's memory

    @property
    def calls(self) -> int:
        """How many calls."""
        return sum(self.names.values())

    def in_seconds(self, arch: str) -> float:
        """The bound for the board with a chip of this architecture; for Wormhole's if it is not known."""
        return self.seconds.get(arch, self.seconds["wormhole_b0"])

    def add(self, other: Amount, times: int = 1) -> None:
        """Add another sum so many times."""
        for name, count in other.names.items():
            self.names[name] += count * times
        self.read += other.read * times
        self.written += other.written * times
        self.logical += other.logical * times
        self.flops += other.flops * times
        self.unseen += other.unseen * times
        for arch, seconds in other.seconds.items():
            self.seconds[arch] += seconds * times
        self.peak = max(self.peak, other.peak)


def amount_of(calls: Iterable[DeviceCall]) -> Amount:
    """The sum of these calls."""
    total = Amount()
    for call in calls:
        total.names[call.name] += 1
        total.read += call.read
        total.written += call.written
        total.logical += call.logical
        total.flops += call.flops
        for arch, seconds in call.seconds.items():
            total.seconds[arch] += seconds
    return total


class Variant:
    """One sequence of ttnn calls that a unit makes, how often it made it, and the calls once they were looked at."""

    def __init__(self, names: tuple[str, ...]):
        self.names, self.count = names, 0
        self.calls: tuple[DeviceCall, ...] | None = None

    def see(self, calls: tuple[DeviceCall, ...]) -> None:
        """Take the calls of a run that was looked at."""
        self.calls = calls
        self.__dict__.pop("amount", None)

    @cached_property
    def amount(self) -> Amount:
        """What one run costs."""
        if self.calls is None:
            return Amount(names=Counter(self.names), unseen=len(self.names))
        return amount_of(self.calls)


class Work:
    """What a unit of work had the device do. A lowering sees metadata only, so each run makes one of a few sequences.

    The sequences differ by what is made once and kept, such as prepared weights.
    """

    __slots__ = ("label", "last", "look_at", "looks", "peak", "runs", "variants")

    def __init__(self, label: str):
        self.label = label
        self.looks = True  # whether the next run is looked at in detail
        self.runs = 0
        self.look_at = _RATE - 1  # after so many runs, the next one is looked at
        self.peak = 0
        self.variants: dict[tuple[str, ...], Variant] = {}
        self.last: Variant | None = None  # the sequence that the last run made

    def ran(self, names: tuple[str, ...], calls: tuple[DeviceCall, ...] | None) -> None:
        """Note a run that made these calls, which are None if it was not looked at."""
        variant = self.variants.get(names)
        if variant is None:
            variant = self.variants.setdefault(names, Variant(names))
        variant.count += 1
        self.last = variant
        if calls is not None:
            variant.see(calls)
        due = self.runs >= self.look_at
        if due:
            self.look_at = (self.look_at + 1) * _RATE - 1
        self.looks = due or self.runs == 1 or variant.calls is None

    def amount(self) -> Amount:
        """All of it."""
        total = Amount(peak=self.peak)
        for variant in list(self.variants.values()):
            total.add(variant.amount, variant.count)
        return total
