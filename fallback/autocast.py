"""Autocast goes on within an op that PyTorch composes of others, as it does where no mode sees the op."""

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
    """Whether the parts of the op that this thread is running are cast; None where it is running none."""

    enabled: bool | None = None


_within = _Within()


@contextmanager
def autocast_within(op: OpOverload, *, in_parts: bool) -> Iterator[None]:
    """Cast the parts of `op`, which the context calls, if PyTorch would.

    It calls a mode with autocast off. Nor are the parts cast of an op for which autocast has a rule, such as
    `aten.cdist`, and of one that PyTorch computes in one piece: where `in_parts` does not say otherwise.
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
    except RuntimeError:  # no mode is handling a call, as where `ttreg why` asks for an op's parts
        return torch.is_autocast_enabled("cpu")
