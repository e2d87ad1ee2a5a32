"""The decision for one signature: where its calls go, why, and all that does not change from call to call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .meta import Meta
from .placement import Placement
from .pytorch_private import OpOverload
from .refusal import HOST_MEMORY, Refusal
from .registry import Entry
from .specs import PLAIN, Arrival


@dataclass
class Slot:
    """A tensor argument: its schema name and where a call has it."""

    name: str
    where: int | str
    arrival: Arrival = PLAIN
    as_held: bool = False  # whether the session has it as the lowering takes it

    def of(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The argument in a call."""
        return args[self.where] if isinstance(self.where, int) else kwargs[self.where]

    def tensors(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors in the argument; a None in a list is left out."""
        value = self.of(args, kwargs)
        return [t for t in value if t is not None] if isinstance(value, (list, tuple)) else [value]


@dataclass
class Plan:
    """One decision, and the counters of the calls that followed it."""

    op: OpOverload
    placement: Placement
    refusal: Refusal | None = None
    entry: Entry | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    # Every argument that holds tensors; of these, the ones that the lowering takes, and the ones that the op writes to.
    tensors: list[Slot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    written: list[Slot] = field(default_factory=list)
    # The op writes to a part of a storage.
    writes_part: bool = False
    outputs: list[Meta] = field(default_factory=list)
    # The op returns a list or a tuple of outputs.
    returns_list: bool = False
    # PyTorch does not count the op's writes for autograd, so the host runtime does.
    uncounted: bool = False
    # Which of the lowering's results need no finishing, as the first call has shown.
    as_made: tuple[bool, ...] = ()
    # The result is cast to the dtype that carries the output.
    casts: bool = False
    # The op is elementwise: it may write to a tensor that it also reads.
    elementwise: bool = False
    # For an op that changes a tensor's geometry in place, as `t_`: the op that returns the view, as `t`.
    view_form: OpOverload | None = None
    # The last byte of the storage, plus one, that the outputs of a view show.
    view_end: int = 0
    # The op reads a floating-point tensor.
    floating: bool = False
    # It reads or makes a floating-point dtype that ttnn lacks.
    no_dtype: bool = False
    # No argument is a DeviceTensor.
    plain: bool = False
    # An argument is complex.
    complex: bool = False
    # Bytes of the inputs; counters of the calls; bytes that calls on the host downloaded, and that went up again after.
    nbytes: int = 0
    count: int = 0
    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0

    @property
    def host_float(self) -> bool:
        """Whether the host runs what a better registry could bring to the device."""
        in_host_memory = self.plain and self.refusal is HOST_MEMORY
        return self.floating and self.placement == "host" and not in_host_memory

    def targets(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors of a call that the op writes to."""
        return [tensor for slot in self.written for tensor in slot.tensors(args, kwargs)]
