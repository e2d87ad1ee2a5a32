"""A call on the CPU and on the device, and in what they differ."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from ttreg.checking.compare import TOLERANCES, largest_difference
from ttreg.meta import meta_of
from ttreg.registry import Entry
from ttreg.runtime.session import Session
from ttreg.schema import argument_names, written_arguments

from .left_open import ROUNDED_SUMS, in_float32, name_of, settled

MOST_ELEMENTS = 1 << 15
HALF_COMPLEX = (torch.complex32, torch.bcomplex32)


def difference(session: Session, entry: Entry, arguments: dict[str, Any]) -> str | None:
    """In what the call differs from the CPU's, or nothing; None for a call that is too large to try."""
    with _disable_current_modes():
        if _too_large(entry, arguments):
            return None
        copied = tree_map_only(torch.Tensor, host_copy, arguments)
        expected = outcome(entry.op, copied)
        on_device = tree_map_only(torch.Tensor, lambda t: _to_device(session, t), arguments)
    given = outcome(entry.op, on_device)
    with _disable_current_modes():
        if isinstance(given, list):
            given = read(session, given)
        differing = _compared(entry, copied, given, expected)
        if differing and name_of(entry) in ROUNDED_SUMS and isinstance(expected, list):
            wider = outcome(entry.op, in_float32(copied))
            rounded = [new.to(old.dtype) for new, old in zip(wider, expected, strict=True)]
            differing = _compared(entry, copied, given, rounded)
        return differing


def difference_in_writes(session: Session, entry: Entry, op: OpOverload, arguments: dict[str, Any]) -> str | None:
    """As `difference`, of a form of the entry's op that writes: also in what it leaves in the tensors written to."""
    names = written_arguments(op)
    with _disable_current_modes():
        if _too_large(entry, {name: arguments[name] for name in argument_names(entry.op)}):
            return None
        copied = tree_map_only(torch.Tensor, host_copy, arguments)
        expected = outcome(op, copied)
        on_device = tree_map_only(torch.Tensor, lambda t: _to_device(session, t), arguments)
    given = outcome(op, on_device)
    with _disable_current_modes():
        if isinstance(given, list):
            given = read(session, given)
        differing = _compared(entry, copied, given, expected)
        if differing:
            return differing
        left = [copied[name] for name in names]
        resized = any(meta_of(now) is not meta_of(arguments[name]) for name, now in zip(names, left, strict=True))
        if resized and isinstance(expected, Exception):  # what was resized before that holds what was in memory
            metas = [getattr(on_device[name], "_meta", None) or meta_of(on_device[name]) for name in names]
            same = all(meta is meta_of(now) for meta, now in zip(metas, left, strict=True))
            return "" if same else f"{metas} left instead of {[meta_of(now) for now in left]}"
        differing = _compared(entry, copied, read(session, [on_device[name] for name in names]), left)
        return differing and f"left behind: {differing}"


def read(session: Session, tensors: list[torch.Tensor]) -> Any:
    """The metadata and values of each, or what is raised where they are read."""
    try:
        return [(t._meta, session.read(t)) if hasattr(t, "_meta") else (meta_of(t), t) for t in tensors]
    except Exception as error:
        return error


def outcome(op: OpOverload, arguments: dict[str, Any]) -> Any:
    """The tensors that it returns, or the exception that it raises."""
    positional = {a.name for a in op._schema.arguments if not a.kwarg_only}
    args = [value for name, value in arguments.items() if name in positional]
    kwargs = {name: value for name, value in arguments.items() if name not in positional}
    try:
        return [leaf for leaf in tree_leaves(op(*args, **kwargs)) if isinstance(leaf, torch.Tensor)]
    except Exception as error:
        return error


def _compared(entry: Entry, arguments: dict[str, Any], given: Any, expected: Any) -> str:
    if isinstance(given, Exception) or isinstance(expected, Exception):
        same = type(given) is type(expected)
        return "" if same else f"{_said(given)} instead of {_said(expected)}"
    if len(given) != len(expected):
        return f"{len(given)} outputs instead of {len(expected)}"
    for (meta, _), wanted in zip(given, expected, strict=True):
        if meta is not meta_of(wanted):
            return f"{meta} {meta.stride} instead of {meta_of(wanted)} {wanted.stride()}"
    both = (settled(entry, arguments, values) for values in ([values for _, values in given], expected))
    for values, wanted in zip(*both, strict=True):
        if not _close(values, wanted):
            shown = [values.flatten()[:4].tolist(), wanted.flatten()[:4].tolist()]
            return f"values off by {largest_difference(values, wanted)}: {shown[0]} instead of {shown[1]}"
    return ""


def _close(values: torch.Tensor, wanted: torch.Tensor) -> bool:
    if wanted.dtype in HALF_COMPLEX:  # which PyTorch compares in no way
        return _close(values.to(torch.complex64), wanted.to(torch.complex64))
    if wanted.dtype not in TOLERANCES:
        return bool(torch.equal(values, wanted) or torch.allclose(values, wanted, rtol=0, atol=0, equal_nan=True))
    rtol, atol = TOLERANCES[wanted.dtype]
    largest = wanted.abs().double().nan_to_num(nan=0.0, posinf=0.0).max() if wanted.numel() else 0.0
    return torch.allclose(values, wanted, rtol=rtol, atol=atol * max(1.0, float(largest)), equal_nan=True)


def _said(outcome: Any) -> str:
    if isinstance(outcome, Exception):
        return f"{type(outcome).__name__}: {str(outcome).splitlines()[0] if str(outcome) else ''}"
    return ", ".join(str(t[0] if isinstance(t, tuple) else meta_of(t)) for t in outcome) or "nothing"


def _to_device(session: Session, tensor: torch.Tensor) -> torch.Tensor:
    dense = meta_of(tensor).at_start().covers(tensor.nbytes)
    if tensor.dtype in session.carriers and tensor.dtype is not torch.int64 and tensor.numel() and dense:
        return session.to_device(tensor)
    return host_copy(tensor)


def host_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A plain tensor of the same layout over a copy of the whole storage."""
    return meta_of(tensor).on_storage(tensor.untyped_storage().clone())


def _too_large(entry: Entry, arguments: dict[str, Any]) -> bool:
    try:
        outputs = outcome(entry.op, tree_map_only(torch.Tensor, lambda t: meta_of(t).on_meta(), arguments))
    except RuntimeError:
        return False
    return isinstance(outputs, list) and any(output.numel() > MOST_ELEMENTS for output in outputs)
