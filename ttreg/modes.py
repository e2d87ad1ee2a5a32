"""Host work of ttreg's own: no mode that the program has open sees it, or changes what it makes.

A default device (`with torch.device(...)`, `torch.set_default_device`) is such a mode, of the kind that overrides
functions; a block of `device_mode` is one of the kind that dispatches ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from .pytorch_private import (
    DisableTorchFunction,
    count_of_dispatch_modes,
    count_of_function_modes,
    disable_current_modes,
)

without_overrides = DisableTorchFunction
overrides_are_active = count_of_function_modes  # how many modes override functions, so 0 if none does
_dispatches = count_of_dispatch_modes
_nothing = nullcontext()


@contextmanager
def without_modes() -> Iterator[None]:
    """Neither dispatch ops nor override functions."""
    with disable_current_modes(), without_overrides():
        yield


def without_any_modes() -> AbstractContextManager[Any]:
    """The same, faster where there are none: where a mode is handling a call, the commonest place."""
    return without_modes() if _dispatches() or overrides_are_active() else _nothing
