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
        """The tensors in the argument, a list's without its Nones."""
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
    tensors: list[Slot] = field(default_factory=list)  # every argument that holds tensors
    slots: list[Slot] = field(default_factory=list)  # of those, the ones that the lowering takes
    written: list[Slot] = field(default_factory=list)
    writes_part: bool = False  # whether what it writes to is a part of its storage
    outputs: list[Meta] = field(default_factory=list)
    several: bool = False
    uncounted: bool = False  # whether autograd has yet to be told of the writes
    as_made: tuple[bool, ...] = ()  # which outputs of the lowering have been seen to need no finishing
    casts: bool = False  # whether its result is brought to the dtype that carries it
    elementwise: bool = False  # whether an op that writes may be given what it writes to a second time
    form: OpOverload | None = None  # of a view op that works in place: the one that returns the view
    reach: int = 0  # bytes that the storage has to have for a view's outputs to lie in it
    floating: bool = False  # whether it reads a tensor of floating point
    no_dtype: bool = False  # whether one that it reads or makes is of a floating-point dtype that ttnn lacks
    plain: bool = False  # whether no argument is a DeviceTensor
    complex: bool = False  # whether an input is complex
    nbytes: int = 0
    count: int = 0
    seconds: float = 0.0
    bytes_down: int = 0  # downloaded for the host's calls
    bytes_up: int = 0  # of their results, uploaded again

    @property
    def host_float(self) -> bool:
        """Whether the host runs what a better registry could bring to the device."""
        in_host_memory = self.plain and self.refusal is HOST_MEMORY
        return self.floating and self.placement == "host" and not in_host_memory

    def targets(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors of a call that the op writes to."""
        return [tensor for slot in self.written for tensor in slot.tensors(args, kwargs)]
