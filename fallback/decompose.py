"""Runs an op as the ops that it decomposes into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conditions import InParts
from ..pytorch_private import DispatchKey, OpOverload, decompositions, set_key_excluded
from ..registry import registry
from ..schema import is_composite, is_tracked
from .autocast import autocast_within


def can_run(op: OpOverload) -> bool:
    """Whether this overload has a decomposition. PyTorch often has none for an `out=` form."""
    return is_composite(op) or op in decompositions() or ours(op) is not None


def run(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call the op's decomposition; under a mode, its parts are dispatched one by one."""
    if is_composite(op):
        # PyTorch calls a mode with this key excluded. Through it, autograd learns of the views and writes of the parts.
        without_autograd = set_key_excluded(DispatchKey.ADInplaceOrView, is_tracked(op))
        with without_autograd, autocast_within(op, in_parts=True):
            # This kernel also runs under no_grad. `op.decompose` would prefer the Python decomposition of some ops.
            return op._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
    entry_decomposition = ours(op) or of_some_calls(op)  # follows PyTorch's kernel, which calls other ops too
    with autocast_within(op, in_parts=entry_decomposition is not None):
        return (entry_decomposition or decompositions()[op])(*args, **kwargs)


def ours(op: OpOverload) -> Callable[..., Any] | None:
    """The decomposition from the op's entry, for ops that PyTorch has none for."""
    entry = registry.find(op)
    return entry.decomposition if entry is not None and entry.op is op else None


def of_some_calls(op: OpOverload) -> Callable[..., Any] | None:
    """The decomposition of those calls that only the last condition of the op's entry refuses."""
    entry = registry.find(op)
    last = entry.conditions[-1] if entry is not None and entry.conditions else None
    return last.into if isinstance(last, InParts) else None
