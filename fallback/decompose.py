"""Replaces an op by the ops that PyTorch defines it with."""

from __future__ import annotations

from typing import Any

from torch._ops import OpOverload

from ..schema import is_composite


def run(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call the op's decomposition; under a mode, its parts are dispatched one by one."""
    if is_composite(op):
        return op.decompose(*args, **kwargs)
    from torch._decomp import decomposition_table

    return decomposition_table[op](*args, **kwargs)
