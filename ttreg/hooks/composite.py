"""Hands ops that PyTorch takes apart before a block sees them to a session that has a lowering of its own for them."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ..forks import new_lock
from ..pytorch_private import DispatchKey, DispatchKeySet, OpOverload, below_autograd, tree_flatten, tree_unflatten
from ..runtime.session import Session
from ..schema import is_composite

_CPU = DispatchKeySet(DispatchKey.CPU)
_lock = new_lock()
_kernels: dict[OpOverload, tuple[list[int], torch.library.Library]] = {}  # with how many sessions ask for it


class _OfThread(threading.local):
    within: tuple[OpOverload, ...] = ()  # what is being run whole, whose parts are PyTorch's own


_of_thread = _OfThread()


def find_block() -> Any:
    """The block of this thread, or None. `replaced` puts the function here that knows the blocks."""


def whole(op: OpOverload) -> Callable[[], None]:
    """Let calls of a composite op reach sessions that have a lowering for it. Returns what ends this."""
    if not is_composite(op):
        return lambda: None
    with _lock:
        if op not in _kernels:
            _kernels[op] = [0], _registered(op)
        _kernels[op][0][0] += 1

    def end() -> None:
        with _lock:
            count, library = _kernels[op]
            count[0] -= 1
            if not count[0]:
                del _kernels[op]
                library._destroy()

    return end


def _registered(op: OpOverload) -> torch.library.Library:
    name = op._schema.name.partition("::")[2] + (f".{op._schema.overload_name}" if op._schema.overload_name else "")
    kept = torch.library.get_kernel(f"{op.namespace}::{name}", "CPU")

    def original(*args: Any, **kwargs: Any) -> Any:
        return kept.call_boxed(_CPU, *args, **kwargs)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        block = None if op in _of_thread.within else find_block()
        if block is None or not block.session.entries.own(op):
            return original(*args, **kwargs)
        leaves, form = tree_flatten((args, kwargs))
        return _Whole.apply(op, original, form, *leaves)

    library = torch.library.Library(op.namespace, "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Oo]verrid", category=UserWarning)
        library.impl(name, kernel, "CompositeImplicitAutograd")
    return library


Session.whole = staticmethod(whole)


class _Whole(torch.autograd.Function):
    """The op as one call below autograd. Its gradient is that of PyTorch's own kernel for the same arguments."""

    @staticmethod
    def forward(ctx: Any, op: OpOverload, original: Callable[..., Any], form: Any, *leaves: Any) -> Any:
        ctx.original, ctx.form = original, form
        ctx.places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        ctx.leaves = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        ctx.save_for_backward(*(leaves[place] for place in ctx.places))
        args, kwargs = tree_unflatten(list(leaves), form)
        return _below(op, args, kwargs)

    @staticmethod
    @once_differentiable  # the gradients below have no graph
    def backward(ctx: Any, *gradients: Any) -> Any:
        leaves = list(ctx.leaves)
        wanted = ctx.needs_input_grad[3:]
        for place, saved in zip(ctx.places, ctx.saved_tensors, strict=True):
            leaves[place] = saved.detach().requires_grad_(wanted[place])
        args, kwargs = tree_unflatten(leaves, ctx.form)
        with torch.enable_grad():
            made = ctx.original(*args, **kwargs)
        outputs = made if isinstance(made, (tuple, list)) else (made,)
        asked = [leaf for leaf, needed in zip(leaves, wanted, strict=True) if needed]
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        found = iter(torch.autograd.grad([o for o, _ in pairs], asked, [g for _, g in pairs], allow_unused=True))
        return None, None, None, *(next(found) if needed else None for needed in wanted)


def _below(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    outer = _of_thread.within
    _of_thread.within = (*outer, op)
    try:
        with below_autograd():
            return op(*args, **kwargs)
    finally:
        _of_thread.within = outer
