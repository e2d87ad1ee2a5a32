"""Keeps autocast active inside an op that PyTorch composes from other ops, as it is without a mode."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from ..pytorch_private import DispatchKey, OpOverload, as_the_op_was_called, has_kernel_for, set_key_excluded

_KEY = DispatchKey.AutocastCPU
_set_excluded = set_key_excluded
_as_the_op_was_called = as_the_op_was_called


class _Within(threading.local):
    """Whether autocast casts the parts of the op that this thread runs; None if the thread runs no op."""

    enabled: bool | None = None


_within = _Within()


@contextmanager
def autocast_within(op: OpOverload, *, in_parts: bool) -> Iterator[None]:
    """While open, autocast casts the parts of `op` if PyTorch would cast them.

    This has to be set here, since PyTorch calls a mode with autocast off. Parts are not cast if autocast has a rule for
    the whole op, as for `aten.cdist`, or if PyTorch computes the op in one piece (`in_parts` is False).
    """
    around = _within.enabled
    enabled = in_parts and not _has_a_rule(op) and (_enabled_at_the_call() if around is None else around)
    _within.enabled = enabled
    try:
        with _set_excluded(_KEY, not enabled):
            yield
    finally:
        _within.enabled = around


@cache
def _has_a_rule(op: OpOverload) -> bool:
    return has_kernel_for(op.name(), "AutocastCPU")


def _enabled_at_the_call() -> bool:
    try:
        with _as_the_op_was_called():
            return torch.is_autocast_enabled("cpu")
    except RuntimeError:  # no mode is handling a call, for example in `ttreg why`
        return torch.is_autocast_enabled("cpu")
