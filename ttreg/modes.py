"""Modes: what a block's is, and how ttreg's own host work is hidden from all, so that none changes its results.

There are two kinds of modes. A default device (`with torch.device(...)`, `torch.set_default_device`) overrides
functions; a block of `device_mode` dispatches ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch.overrides import TorchFunctionMode

from .pytorch_private import (
    DisableTorchFunction,
    TorchDispatchMode,
    count_of_dispatch_modes,
    count_of_function_modes,
    disable_current_modes,
    dispatch_modes,
)


class Watching(TorchFunctionMode):
    """A mode that looks at calls of functions only to take note of them, and makes each as the program does."""


without_overrides = DisableTorchFunction
overrides_are_active = count_of_function_modes  # how many modes override functions; 0 is false
_dispatches = count_of_dispatch_modes
_nothing = nullcontext()


@contextmanager
def without_modes() -> Iterator[None]:
    """While open, no mode dispatches ops or overrides functions."""
    with disable_current_modes(), without_overrides():
        yield


def without_any_modes() -> AbstractContextManager[Any]:
    """As `without_modes`, but faster without active modes. Most uses are inside a mode's own work, where none is."""
    return without_modes() if _dispatches() or overrides_are_active() else _nothing


class BlockMode(TorchDispatchMode):
    """The mode through which a block receives the calls of its thread."""

    ended = False  # whether the block has; the mode may still stand on the stack of another thread

    def end(self) -> None:
        """Let the calls that still come go to the host."""
        self.ended = True

    def here(self) -> bool:
        """Whether the calls of the code that runs now are the block's."""
        return not self.ended


def modes_here() -> list[TorchDispatchMode]:
    """The modes that see the calls of the code that runs now, the innermost last."""
    return [mode for mode in dispatch_modes() if not isinstance(mode, BlockMode) or mode.here()]
