"""Higher-order operators, such as `torch.cond` and `while_loop`, which are given functions to run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..pytorch_private import BaseHOP, DispatchKey, HigherOrderOperator, disable_current_modes, tree_map

# What Python's own `if` and `for` would do. Autograd follows the calls inside, also to what the functions close over;
# what only the other branch would use gets no gradient, where PyTorch's compiled operator gives zeros.
CONTROL_FLOW = frozenset(("associative_scan", "cond", "map_impl", "scan", "switch", "while_loop"))

# These have a kernel that raises under any mode, so that only the functions they are given can run under it.
_WITHOUT_MODES = frozenset(("cond", "invoke_subgraph", "scan", "strict_mode", "switch"))


def run(
    op: HigherOrderOperator, args: tuple, kwargs: dict[str, Any], modes: Callable[[], AbstractContextManager[Any]]
) -> Any:
    """Run PyTorch's own kernel of `op`, whose aten calls are made under the `modes`."""

    def under_modes(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with modes():
                return function(*args, **kwargs)

        return call

    kernel: Any = op.dispatch
    if op.name() in _WITHOUT_MODES or isinstance(op, BaseHOP):
        args, kwargs = tree_map(lambda leaf: under_modes(leaf) if callable(leaf) else leaf, (args, kwargs))
    else:
        kernel = under_modes(kernel)
    # The operators call `torch.compile`, which would go on here, as soon as no mode keeps it from doing so.
    with disable_current_modes():
        return torch.compiler.disable(kernel)(DispatchKey.CPU, *args, **kwargs)
