"""How much a lowering may hold or count at once, and the condition that says so."""

from __future__ import annotations

from collections.abc import Callable

from ...call import Call
from ...conditions import Check

# float32 holds every integer up to here: what is counted or numbered in it has no more.
COUNTABLE = 2**24

# How many elements are held at once where a lowering makes one for each pair.
HELD = 2**24


def at_most(limit: int, what: str, count: Callable[[Call], int], because: str) -> Check:
    """The condition that `count` of the call is no more than the limit.

    `what` says of what, with `{}` in the place of the limit; a refusal says how many there are.
    """

    def more(call: Call) -> str | None:
        found = count(call)
        return str(found) if found > limit else None

    return Check(what.format(limit), more, because=because)
