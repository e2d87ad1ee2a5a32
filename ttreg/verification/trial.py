"""Tries an entry with one of its samples: the decision, and the results of device and host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..call import Call
from ..carriers import narrowed
from ..checking.compare import close, differences, largest_difference
from ..conditions import Refusal
from ..errors import LoweringError
from ..memory.padding import mostly_padding
from ..memory.tensor import DeviceTensor
from ..meta import Meta, meta_of
from ..modes import without_modes
from ..pytorch_private import tree_leaves, tree_map_only
from ..registry import Entry
from ..runtime.acceptance import entry_refusal
from ..runtime.session import Session
from ..samples import Sample

_SUMS_ARE_ROUNDED = torch.ops.aten.convolution_backward.default


@dataclass
class Output:
    """One output: its metadata, and its values in a contiguous tensor."""

    meta: Meta
    values: torch.Tensor


@dataclass
class Trial:
    """The outcome: the refusal, or the outputs of the device and of the host.

    Where the session narrows a dtype, `expected` is what the host gives for the values that the device has of the
    sample, and `in_narrow` what it gives for tensors of the narrower dtype, if it takes them.
    """

    refusal: Refusal | None
    outputs: list[Output] = field(default_factory=list)
    expected: list[Output] = field(default_factory=list)
    narrow: Mapping[torch.dtype, torch.dtype] = field(default_factory=dict)
    in_narrow: list[Output] = field(default_factory=list)

    def wrong(self) -> str:
        """How the device's outputs differ from the host's, if they do."""
        if len(self.outputs) != len(self.expected):
            return f"there are {len(self.outputs)} outputs, the CPU gives {len(self.expected)}"
        for number, (output, expected) in enumerate(zip(self.outputs, self.expected, strict=True)):
            if output.meta is not expected.meta:
                return f"output {number} is {output.meta}, the CPU gives {expected.meta}"
            given, wanted = self._carried(output), self._carried(expected)
            if self.in_narrow:
                # Both are right: rounding once at the end, and rounding in between as CPU does in the narrower dtype.
                other = self._carried(self.in_narrow[number])
                wanted = torch.where(differences(given, other) < differences(given, wanted), other, wanted)
            if not close(given, wanted):
                return f"output {number} differs from the CPU's by {largest_difference(given, wanted):.3g}"
        return ""

    def _carried(self, output: Output) -> torch.Tensor:
        dtype = self.narrow.get(output.meta.dtype)
        return output.values if dtype is None else narrowed(output.values, dtype)


def decision(session: Session, entry: Entry, sample: Sample) -> Refusal | None:
    """Which condition of the entry refuses the sample, if one does."""
    with without_modes():
        return entry_refusal(session, entry, Call.bind(entry.op, sample.args, sample.kwargs))


def trial(session: Session, entry: Entry, sample: Sample) -> Trial:
    """Run the sample on the device, inside the session's block, and compute what the host gives."""
    refusal = decision(session, entry, sample)
    if refusal is not None:
        return Trial(refusal)
    narrow = session.carriers.narrow

    def as_carried(tensor: torch.Tensor) -> torch.Tensor:
        dense = tensor if meta_of(tensor).at_start().covers(tensor.nbytes) else tensor.contiguous()
        return narrowed(dense, narrow[dense.dtype]).to(dense.dtype) if dense.dtype in narrow else dense

    def to_device(tensor: torch.Tensor) -> torch.Tensor:
        movable = tensor.dtype in session.carriers and tensor.dtype is not torch.int64 and tensor.numel()
        if session.device.name == "mock" and not tensor.is_floating_point() and entry.checked:
            return tensor  # a mocked chip has no values, so it returns no valid indices
        return session.to_device(tensor) if movable else tensor

    with without_modes():
        on_host = tree_map_only(torch.Tensor, as_carried, (sample.args, sample.kwargs))
        on_device = tree_map_only(torch.Tensor, to_device, on_host)
    # Composite ops arrive whole under inference_mode only.
    with torch.inference_mode():
        outputs = outputs_of(session, entry.op(*on_device[0], **on_device[1]))
        with without_modes():
            expected = _expected(session, entry, on_host)
            in_narrow = _in_narrow(session, entry, on_host) if narrow else []
    return Trial(None, outputs, expected, narrow, in_narrow)


def _expected(session: Session, entry: Entry, on_host: Any) -> list[Output]:
    """What the host gives; for a convolution's gradients in bfloat16, the values that it has in float32, rounded once.

    On a CPU without bfloat16 instructions, PyTorch's kernel for them rounds each partial sum to bfloat16. What it gives
    is then off by up to 1 % of the largest value (PyTorch 2.15, AVX2).
    """
    args, kwargs = on_host
    expected = outputs_of(session, entry.op(*args, **kwargs))
    if entry.op is _SUMS_ARE_ROUNDED and any(output.values.dtype is torch.bfloat16 for output in expected):
        wide, named = tree_map_only(torch.Tensor, lambda tensor: tensor.float(), on_host)
        for output, in_float32 in zip(expected, outputs_of(session, entry.op(*wide, **named)), strict=True):
            output.values = in_float32.values.to(torch.bfloat16)
    return expected


def _in_narrow(session: Session, entry: Entry, on_host: Any) -> list[Output]:
    """What the host gives for tensors of the narrower dtype; nothing if it takes none."""
    narrow = session.carriers.narrow
    args, kwargs = tree_map_only(torch.Tensor, lambda t: t.to(narrow.get(t.dtype, t.dtype)), on_host)
    try:
        return outputs_of(session, entry.op(*args, **kwargs))
    except RuntimeError:  # PyTorch has no such kernel
        return []


def outputs_of(session: Session, result: Any) -> list[Output]:
    """The tensors of a result, with the values that their device holds."""
    with without_modes():
        return [_read(session, t) for t in tree_leaves(result) if isinstance(t, torch.Tensor)]


def _read(session: Session, tensor: torch.Tensor) -> Output:
    # What is mostly padding in tiles is read as a program reads it: the host turns what an image has.
    if not isinstance(tensor, DeviceTensor) or not session.holds(tensor) or mostly_padding(tensor._meta):
        return Output(meta_of(tensor), session.read(tensor).contiguous().clone())
    # Ask for the device value, so that a view's lowering runs.
    values = session.download(session.value(tensor))
    if tensor.dtype is torch.bool and not bool(((values == 0) | (values == 1)).all()):
        raise LoweringError(f"a bool is carried by other numbers than 0 and 1: {values.unique()[:5].tolist()}")
    return Output(tensor._meta, values.to(tensor.dtype).contiguous())
