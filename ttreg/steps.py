"""Elementwise steps that one ttnn call can make together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# The name of a `ttnn.UnaryOpType`, and its numbers.
Step = tuple[Any, ...]


@dataclass(frozen=True)
class Steps:
    """How an entry's float32 calls take part in the ttnn calls of others, with the same roundings as on their own.

    `step` is for calls of one tensor: from the arguments that are no tensors, the step that the lowering makes; None if
    it makes another call. Such a call may wait for the one that needs its result.
    `of_two` is for calls of two tensors, `self` and `other`: the ttnn function that the lowering calls, which can make
    the steps that either operand still waits for.
    """

    step: Callable[[Mapping[str, Any]], Step | None] | None = None
    of_two: str = ""


def always(name: str, *numbers: float) -> Steps:
    """The step of an op without other arguments."""
    step = (name, *numbers)
    return Steps(step=lambda _: step)
