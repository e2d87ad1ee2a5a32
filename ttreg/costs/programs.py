"""Device programs: a chip's ttnn counts those that it keeps; without a chip they are estimated."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from .calls import DeviceCall

# Rows that are kept apart. A program may make new programs at every step for ever.
_MOST = 1 << 12
_MOST_KNOWN = 1 << 16


class Maker(NamedTuple):
    """What made new programs: the op of the program, the ttnn call and its tensors, and the user's line of Python."""

    op: str
    call: str
    operands: str
    line: str


class Programs:
    """The programs that a device holds. This estimates them for one session, as if the device had none before.

    A call that differs in its function, in the shapes, dtypes or layouts of its tensors, or in its other arguments
    from all earlier ones counts as one new program.
    """

    estimated = True

    def __init__(self) -> None:
        self._known: set[int] = set()  # hashes, which take less memory than what they are of
        # How many a chip has, which costs nothing to ask; here there is no chip.
        self.count: Callable[[], int] = int

    def by(self, call: DeviceCall, before: int) -> int:
        """How many a call has made, before which there were so many."""
        if not call.read + call.written:  # it only gives memory another shape
            return 0
        key = hash((call.name, call.inputs, call.outputs, call.attributes))
        new = key not in self._known
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(key)
        return int(new)


class CountedPrograms(Programs):
    """The programs of a chip, also of a mocked one, as ttnn counts them. All sessions of the process share them."""

    estimated = False

    def __init__(self, entries: Callable[[], int]):
        super().__init__()
        self.count = entries

    def by(self, call: DeviceCall, before: int) -> int:
        """How many a call has made, before which there were so many."""
        return self.count() - before


class NewPrograms:
    """A session's new programs, by what made them."""

    def __init__(self) -> None:
        self.total = 0
        self.told: Callable[[int], None] | None = None  # of each count
        self.by_maker: Counter[Maker] = Counter()

    def add(self, count: int, op: str, call: DeviceCall | None) -> None:
        """Count new programs. `call` is None if ttnn made them in a call that was not looked at."""
        self.total += count
        if self.told is not None:
            self.told(count)
        name, operands = ("", "") if call is None else (call.name, call.operands)
        maker = Maker(op, name, operands, users_line())
        if len(self.by_maker) >= _MOST and maker not in self.by_maker:
            maker = Maker(op, name, "", "")
        self.by_maker[maker] += count


def users_line() -> str:
    """File and line of the innermost frame that is neither PyTorch's nor ttreg's; empty if there is none."""
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__", "").partition(".")[0] in ("torch", "ttreg"):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
