"""Host work of ttreg's own: no mode that the program has open sees it, or changes what it makes.

A default device (`with torch.device(...)`, `torch.set_default_device`) is such a mode, of the kind that overrides
functions; a block of `device_mode` is one of the kind that dispatches ops.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

without_overrides = torch._C.DisableTorchFunction
overrides_are_active = torch._C._len_torch_function_stack  # how many modes override functions, so 0 if none does
_dispatches = torch._C._len_torch_dispatch_stack
_nothing = nullcontext()


@contextmanager
def without_modes() -> Iterator[None]:
    """Neither dispatch ops nor override functions."""
    with _disable_current_modes(), without_overrides():
        yield


def without_any_modes() -> AbstractContextManager[Any]:
    """The same, faster where there are none: where a mode is handling a call, the commonest place."""
    return without_modes() if _dispatches() or overrides_are_active() else _nothing
