"""Weights that are on the device only while something is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class OnDemand:
    """A weight of which a lowering only makes something else, such as a kernel in the layout of `ttnn.conv2d`.

    `tt.prepared` keeps what is made of it, so that the weight itself need not stay on the device beside that. It looks
    like a device tensor to those who want its metadata; `on_device` brings it.
    """

    shape: tuple[int, ...]
    dtype: Any
    layout: Any
    source: Any  # of what uploads keep what is made of the weight
    bring: Callable[[], Any]

    def turned(self, shape: tuple[int, ...], source: Any, turn: Callable[[Any], Any]) -> OnDemand:
        """What a function makes of the weight, on demand too; what is made of that is kept by another source."""
        return OnDemand(shape, self.dtype, self.layout, source, lambda: turn(self.bring()))


def on_device(value: Any) -> Any:
    """The device tensor of a weight; any other value as it is."""
    return value.bring() if type(value) is OnDemand else value
