"""The plan for one signature: where its calls run, why, and everything that is the same for each call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from .apart import Labels
from .costs.work import Work
from .meta import Meta
from .placement import Placement
from .pytorch_private import OpOverload
from .refusal import EMPTY, HOST_MEMORY, Refusal
from .registry import Entry
from .room import InRoom
from .schema import is_between_processes
from .specs import PLAIN, Arrival
from .steps import Step

_COPY = torch.ops.aten.copy_.default
_READ = torch.ops.aten._local_scalar_dense.default


@dataclass
class Slot:
    """A tensor argument: its schema name, and its position or keyword in a call."""

    name: str
    where: int | str
    arrival: Arrival = PLAIN
    as_held: bool = False  # whether the session's value goes to the lowering without conversion
    leading: bool = False  # whether a value with more leading dimensions of 1 may go there, with a plan `for_leading`

    def of(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The argument's value in a call."""
        return args[self.where] if isinstance(self.where, int) else kwargs[self.where]

    def tensors(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors in the argument; a None in a list is left out."""
        value = self.of(args, kwargs)
        return [t for t in value if t is not None] if isinstance(value, (list, tuple)) else [value]


class OfImages(Protocol):
    """How a plan's calls run on tensors that are held as images."""

    def plan(self, session: Any, args: tuple, kwargs: dict[str, Any]) -> Plan | None:
        """The plan for a call whose tensors are held as images; None if they are not."""
        ...


@dataclass
class Plan:
    """One decision, and the counters of the calls that followed it."""

    op: OpOverload
    placement: Placement
    refusal: Refusal | None = None
    entry: Entry | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    # `tensors` are all arguments that hold tensors. The lowering takes those in `slots`; the op writes to those in
    # `written`.
    tensors: list[Slot] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    written: list[Slot] = field(default_factory=list)
    # The op writes to a part of a storage.
    writes_part: bool = False
    # The op writes to memory of the host: the device computes what is written, and it is brought down.
    comes_down: bool = False
    outputs: list[Meta] = field(default_factory=list)
    # The op returns a list or a tuple of outputs.
    returns_list: bool = False
    # The places in that list where the op returns None.
    absent: tuple[int, ...] = ()
    # PyTorch does not count the op's writes for autograd, so the host runtime does.
    uncounted: bool = False
    # For each result of the lowering, whether it needs no conversion. The first call finds this out.
    as_made: tuple[bool, ...] = ()
    # How the op takes tensors that are held as images; None if it does not. The plan that it gives is for the calls of
    # the plan `counted_by`, which counts them.
    of_images: OfImages | None = None
    counted_by: Plan | None = None
    # A result of the lowering is an `Image`. The first call finds this out.
    gives_images: bool = False
    # The result is cast to the dtype that carries the output.
    casts: bool = False
    # How the op runs on arguments that are held with spare room; None if the entry cannot, or may not.
    in_room: InRoom | None = None
    # The plans for arguments with so many more leading dimensions of 1, made when they are first met; see `leading`.
    for_leading: dict[int, Plan] = field(default_factory=dict)
    # The matrix as which an elementwise op gives its result, and takes its tensors, where tiles would pad these many
    # times over; and why the call does not fit the device without that. See `matrices`.
    matrix: Meta | None = None
    too_large: Refusal | None = None
    # The number that every element of the output is; None if it is not that simple.
    number: Any = None
    # Which dimensions the op keeps apart; None if the entry does not say. By label: `own_sizes` are the call's sizes,
    # and `starts` those to which its own arguments are padded, because calls with many sizes have been made.
    apart: Labels | None = None
    own_sizes: dict[Any, int] = field(default_factory=dict)
    starts: dict[Any, int] = field(default_factory=dict)
    # Whether calls are looked at for arguments that are held with spare room, or padded.
    may_be_longer: bool = False
    # Calls may wait for those that need them, or make steps for which their operands wait; and the step of such a call.
    waits: bool = False
    step: Step | None = None
    # The op is elementwise: it may write to a tensor that it also reads.
    elementwise: bool = False
    # For an op that changes a tensor's geometry in place, such as `t_`: the op that returns the view (`t`).
    view_form: OpOverload | None = None
    # How many bytes the storage must have for the outputs of a view to lie in it.
    view_end: int = 0
    # The line of Python that made the first of the calls.
    line: str = ""
    # The op reads a floating-point tensor that has elements.
    floating: bool = False
    # A small tensor of the host becomes one of another dtype there, whether or not the device could do it.
    converts_small: bool = False
    # The op reads or returns a floating-point dtype that ttnn lacks.
    no_dtype: bool = False
    # CPU has no kernel of the op's own: the kernel for all devices calls other ops, under autocast where that is on.
    has_parts: bool = False
    # No argument is a DeviceTensor.
    plain: bool = False
    # The host runtime only calls the op: see `host.runs_as_it_is`.
    as_it_is: bool = False
    # An argument is complex.
    complex: bool = False
    # `nbytes` are the bytes of the inputs. `count` and `seconds` count the calls. `bytes_down` were downloaded for
    # fallbacks, and `bytes_up` were uploaded again afterwards.
    nbytes: int = 0
    count: int = 0
    seconds: float = 0.0
    bytes_down: int = 0
    bytes_up: int = 0
    # What the device had to do for the lowering; None before its first run. `works` has that of the plans that this one
    # counts too.
    work: Work | None = None
    works: list[Work] = field(default_factory=list)
    # The first run's tensors were all made of weights and constants, so what the op gives is kept.
    of_kept: bool = False

    @property
    def host_float(self) -> bool:
        """Whether this is a floating-point fallback that a better registry could avoid.

        What is copied into a tensor of the host is downloaded, whatever the registry has, and so is what is sent to
        other processes. A number that is read from the host's memory has nothing to do with the device, nor has a small
        tensor there that becomes one of another dtype, and a result without elements is not computed.
        """
        if not self.floating or self.placement != "host" or self.converts_small or is_between_processes(self.op):
            return False
        if (self.plain and self.op is _READ) or (self.refusal is EMPTY and not any(m.numel for m in self.outputs)):
            return False
        return not (self.refusal is HOST_MEMORY and (self.plain or self.op is _COPY))

    def targets(self, args: tuple, kwargs: dict[str, Any]) -> list[torch.Tensor]:
        """The tensors of a call that the op writes to."""
        return [tensor for slot in self.written for tensor in slot.tensors(args, kwargs)]
