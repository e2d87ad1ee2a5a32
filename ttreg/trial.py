"""Tries an entry with one of its samples: what it decides, and the device's result beside the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

from .call import Call
from .conditions import Refusal
from .decide import entry_refusal
from .registry import Entry
from .samples import Sample
from .session import Session
from .tensor import DeviceTensor


@dataclass
class Trial:
    """The outcome: the refusal, or the outputs of the device and of the host."""

    refusal: Refusal | None
    outputs: list[torch.Tensor]
    expected: list[torch.Tensor]


def decision(session: Session, entry: Entry, sample: Sample) -> Refusal | None:
    """Which condition of the entry refuses the sample, if one does."""
    with _disable_current_modes():
        return entry_refusal(session, entry, Call.bind(entry.op, sample.args, sample.kwargs))


def trial(session: Session, entry: Entry, sample: Sample) -> Trial:
    """Run the sample on the device, inside the session's block, and compute what the host gives."""
    refusal = decision(session, entry, sample)
    if refusal is not None:
        return Trial(refusal, [], [])

    def to_device(tensor: torch.Tensor) -> torch.Tensor:
        movable = tensor.dtype in session.carriers and tensor.dtype is not torch.int64 and tensor.numel()
        return session.to_device(tensor) if movable else tensor

    # Composite ops arrive whole under inference_mode only.
    with torch.inference_mode():
        args, kwargs = tree_map_only(torch.Tensor, to_device, (sample.args, sample.kwargs))
        outputs = _plain(session, entry.op(*args, **kwargs))
        with _disable_current_modes():
            expected = _plain(session, entry.op(*sample.args, **sample.kwargs))
    return Trial(None, outputs, expected)


def _plain(session: Session, result: Any) -> list[torch.Tensor]:
    with _disable_current_modes():
        return [_read(session, t) for t in tree_leaves(result) if isinstance(t, torch.Tensor)]


def _read(session: Session, tensor: torch.Tensor) -> torch.Tensor:
    if not isinstance(tensor, DeviceTensor) or tensor._cell.pinned:
        return session.read(tensor).clone()
    # By its device value, so that a view's lowering makes it.
    values = session.download(session.value(tensor))
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype).copy_(values)
