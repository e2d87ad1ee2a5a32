"""The decision for one signature: where its calls go, why, and all that does not change from call to call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from .call import bind_arguments
from .conditions import Refusal
from .meta import Meta
from .placement import Placement
from .pytorch_private import OpOverload
from .registry import Entry
from .schema import tensor_arguments
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


NO_ENTRY = Refusal("no entry", "", "the registry does not have this op")
NO_DECOMPOSITION = Refusal("PyTorch has a decomposition", "", "it has one of the functional form only")
EMPTY = Refusal("no empty tensor", "", "there is nothing to compute")
HOST_MEMORY = Refusal("what it writes to lies on the device", "a tensor of the host", "others may see that memory")
PART_WRITTEN = Refusal(
    "writes to a whole storage, or to a block that the host has not seen",
    "",
    "ttnn tensors have no views to write through",
)
WRITES_BY_PARTS = Refusal(
    "done by an op of its own", "", "autograd is told of the writes by the ops that it is made of"
)
OUT_DTYPE = Refusal("out has the dtype of the result", "", "PyTorch casts to some others, and says to which")
LEFT_FOR_LATER = Refusal("no lazy conjugate or negative", "", "PyTorch notes on the tensor what is left to do")
NO_META = Refusal("accepted by PyTorch without values", "", "its shape function raises, so the host runs it or raises")
DATA_DEPENDENT = Refusal("the shape of the result is known beforehand", "", "it depends on the data")
NOT_CARRIED = Refusal("the device carries the output's dtype", "", "ttnn has no such dtype")


def find_slots(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> tuple[dict[str, Any], list[Slot]]:
    """The constant arguments by name, and the slots of those that hold tensors."""
    names = [a.name for a in op._schema.arguments]
    constants, slots = {}, []
    for name, value in bind_arguments(op, args, kwargs).items():
        has_tensor = any(isinstance(v, torch.Tensor) for v in (value if isinstance(value, (list, tuple)) else [value]))
        if name in tensor_arguments(op) and has_tensor:
            index = names.index(name)
            slots.append(Slot(name, index if index < len(args) else name))
        else:
            constants[name] = value
    return constants, slots
