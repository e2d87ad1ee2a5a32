"""Replaces an op by the ops that PyTorch defines it with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..pytorch_private import DispatchKey, OpOverload, decompositions, set_key_excluded
from ..registry import registry
from ..schema import is_composite, is_tracked
from .autocast import autocast_within


def can_run(op: OpOverload) -> bool:
    """Whether there is a decomposition of this overload; PyTorch often has none of an `out=` form."""
    return is_composite(op) or op in decompositions() or ours(op) is not None


def run(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Call the op's decomposition; under a mode, its parts are dispatched one by one."""
    if is_composite(op):
        # PyTorch calls a mode with the key excluded by which autograd learns of the views and writes of the parts.
        without_autograd = set_key_excluded(DispatchKey.ADInplaceOrView, is_tracked(op))
        with without_autograd, autocast_within(op, in_parts=True):
            # The kernel that runs under no_grad as well; `op.decompose` would prefer Python ones that some ops have.
            return op._op_dk(DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
    of_entry = ours(op)  # which goes as PyTorch's kernel does, that calls other ops as well
    with autocast_within(op, in_parts=of_entry is not None):
        return (of_entry or decompositions()[op])(*args, **kwargs)


def ours(op: OpOverload) -> Callable[..., Any] | None:
    """The decomposition that the op's entry gives, where PyTorch has none."""
    entry = registry.find(op)
    return entry.decomposition if entry is not None and entry.op is op else None
