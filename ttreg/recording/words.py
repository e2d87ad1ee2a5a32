"""What the parts of a recording speak of: registers, tensors on the host, tensors from outside, and events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import TtregError
from ..memory.fingerprint import Fingerprint
from ..meta import Meta
from ..modes import without_modes


class Miss(TtregError):
    """A replay met something that the recording does not know. Nothing is written yet: the function runs eagerly."""


@dataclass(frozen=True)
class Ref:
    """A register of a replay: a value of the device, a storage of the host, or an object that a call has made."""

    number: int


@dataclass(eq=False)
class External:
    """A tensor that was there before the call: an argument, or one that the function reaches otherwise."""

    tensor: Any  # None for an argument, once the recording is made
    argument: int | None  # its place among the tensors of the arguments; None if the function reaches it otherwise
    name: str
    owner: External | None = None  # of a gradient: the tensor that has it
    load: Event | None = None  # what reads its content at each replay
    written: bool = False  # by a host op: a replay works on a copy, and writes that back at its end
    constant: bool = False  # its content is part of the recording
    content: torch.Tensor | None = None  # of a constant that is compared: a copy of the bytes of its storage
    mark: Fingerprint | None = None  # of a constant that may change unseen: the hash of its content


@dataclass(frozen=True)
class Given:
    """An external tensor as an argument of an event."""

    external: External


@dataclass(frozen=True)
class Plain:
    """A tensor of the host as an argument of an event: a storage, and the metadata over it."""

    storage: Ref
    meta: Meta
    whole: External | None = None  # the external tensor that is just this one


@dataclass(eq=False)
class Event:
    """One step of a replay. `results` are the registers that it fills, each with what is taken of the result."""

    function: Any
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)
    results: list[tuple[str, Ref]] = field(default_factory=list)
    pure: bool = True  # without use for its results, the step can be left out
    writes: tuple[Ref, ...] = ()  # the host storages that it writes to
    outcome: Any = None  # of a read: what the program saw
    is_read: bool = False
    on_device: bool = False  # a ttnn call
    where: str = ""  # the line of the program, for reads
    instead: Any = None  # the function if the first argument is not just a tensor from outside
    same: Any = None  # of a step of the host: equal for those that make the same of equal arguments; None if none does


def outcome_of(value: Any) -> Any:
    """A value that the program saw, so that equal ones are the same to it: 1 is not True, and -0.0 is not 0.0."""
    if isinstance(value, (list, tuple)):
        return tuple(map(outcome_of, value))
    if isinstance(value, torch.Tensor):
        return content(value)
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, complex):
        return complex, value.real.hex(), value.imag.hex()
    return type(value), value


def content(plain: torch.Tensor) -> tuple:
    """The content of a tensor on the host, as something that can be compared."""
    with without_modes():
        data = plain.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8).numpy().tobytes()
    return plain.dtype, tuple(plain.shape), data if len(data) <= 1 << 10 else hashlib.sha256(data).digest()


def present(external: External, arguments: list[Any]) -> Any:
    """The external tensor of a replay."""
    if external.owner is not None:
        return present(external.owner, arguments).grad
    return external.tensor if external.argument is None else arguments[external.argument]
