"""Tries an entry with one of its samples: what it decides, and the device's result beside the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from ..call import Call
from ..conditions import Refusal
from ..meta import Meta, meta_of
from ..registry import Entry
from ..runtime.decide import entry_refusal
from ..runtime.session import Session
from ..runtime.tensor import DeviceTensor
from ..samples import Sample


@dataclass
class Trial:
    """The outcome: the refusal, or the outputs of the device and of the host."""

    refusal: Refusal | None
    outputs: list[Output]
    expected: list[Output]


@dataclass
class Output:
    """One output: its metadata, and its values in a contiguous tensor."""

    meta: Meta
    values: torch.Tensor


def decision(session: Session, entry: Entry, sample: Sample) -> Refusal | None:
    """Which condition of the entry refuses the sample, if one does."""
    with _disable_current_modes():
        return entry_refusal(session, entry, Call.bind(entry.op, sample.args, sample.kwargs))


def trial(session: Session, entry: Entry, sample: Sample) -> Trial:
    """Run the sample on the device, inside the session's block, and compute what the host gives."""
    refusal = decision(session, entry, sample)
    if refusal is not None:
        return Trial(refusal, [], [])

    def dense(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if meta_of(tensor).at_start().covers(tensor.nbytes) else tensor.contiguous()

    def to_device(tensor: torch.Tensor) -> torch.Tensor:
        movable = tensor.dtype in session.carriers and tensor.dtype is not torch.int64 and tensor.numel()
        return session.to_device(tensor) if movable else tensor

    with _disable_current_modes():
        on_host = tree_map_only(torch.Tensor, dense, (sample.args, sample.kwargs))
        on_device = tree_map_only(torch.Tensor, to_device, on_host)
    # Composite ops arrive whole under inference_mode only.
    with torch.inference_mode():
        outputs = _outputs(session, entry.op(*on_device[0], **on_device[1]))
        with _disable_current_modes():
            expected = _outputs(session, entry.op(*on_host[0], **on_host[1]))
    return Trial(None, outputs, expected)


def _outputs(session: Session, result: Any) -> list[Output]:
    with _disable_current_modes():
        return [_read(session, t) for t in tree_leaves(result) if isinstance(t, torch.Tensor)]


def _read(session: Session, tensor: torch.Tensor) -> Output:
    if not isinstance(tensor, DeviceTensor) or not session.holds(tensor):
        return Output(meta_of(tensor), session.read(tensor).contiguous().clone())
    # By its device value, so that a view's lowering makes it.
    values = session.download(session.value(tensor))
    return Output(tensor._meta, values.to(tensor.dtype).contiguous())
