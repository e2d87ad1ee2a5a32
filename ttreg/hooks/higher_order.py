"""Higher-order operators, such as `torch.cond` and `while_loop`, which take functions and run them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ..pytorch_private import BaseHOP, DispatchKey, HigherOrderOperator, disable_current_modes, tree_map

# These run like Python's own `if` and `for`. Autograd follows the calls inside, also to tensors that the functions
# close over. Tensors that only the other branch uses get no gradient; PyTorch's compiled operator gives them zeros.
CONTROL_FLOW = frozenset(("associative_scan", "cond", "map_impl", "scan", "switch", "while_loop"))

# The kernels of these raise under any mode, so only the functions that they are given run under the modes.
_WITHOUT_MODES = frozenset(("cond", "invoke_subgraph", "scan", "strict_mode", "switch"))


def run(
    op: HigherOrderOperator, args: tuple, kwargs: dict[str, Any], modes: Callable[[], AbstractContextManager[Any]]
) -> Any:
    """Run PyTorch's own kernel of `op`, with its aten calls made under the `modes`."""

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
    # The operators call `torch.compile`. Without active modes it would compile, so it is kept from that here.
    with disable_current_modes():
        return torch.compiler.disable(kernel)(DispatchKey.CPU, *args, **kwargs)
