"""Runs a program, a list of steps, under the mode or plainly, and tells all that code could observe of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

import ttreg

MOST_TENSORS = 8  # alive at a time
STEPS: dict[str, Callable[..., Any]] = {}

Number = tuple[int, int]


class Step(NamedTuple):
    """A step's name, the places of its tensors (modulo how many there are), and numbers that say how it is done."""

    name: str
    t: int
    u: int
    a: int
    b: int


def step(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register `function(run, t, u, a, b)` as a step: tensors that it returns join the others, the rest is noted."""
    STEPS[function.__name__] = function
    return function


class Run:
    """A program's tensors and arrays, the blocks that it is inside, and what it read and raised on the way."""

    def __init__(self, program: list[Step], on_device: bool):
        self.program, self.on_device = program, on_device
        # PyTorch lets memory be moved while DLPack shares it, and its `resize_` leaves a shape that is too large for
        # memory that cannot be resized (NumPy's, or that of a tensor that was loaded): a program may do the one or the
        # other.
        self.resizes = self.takes("resize_", "set_", "out")
        self.tensors: list[torch.Tensor] = [torch.arange(24.0).reshape(4, 6) / 2 - 6]
        self.arrays: list[np.ndarray] = []
        self.trace: list[str] = []
        self.blocks: list[Block] = []
        self.modes: list[ttreg.device_mode] = []
        self.bits = False  # whether a tensor may hold bits that another dtype's arithmetic left
        self.pool: ThreadPoolExecutor | None = None

    def run(self) -> list[str]:
        """Take all steps, leave all blocks; what was noted, and what the tensors are in the end."""
        try:
            for each in self.program:
                self.take(each)
            while self.blocks:
                self.leave()
        finally:
            while self.blocks:
                self.leave()
            if self.pool is not None:
                self.pool.shutdown()
        return self.trace + self.described()

    def take(self, each: Step) -> None:
        """Take one step."""
        t, u = (self.tensors[place % len(self.tensors)] for place in (each.t, each.u))
        function = STEPS[each.name]
        try:
            result = (
                function(self, t, u, each.a, each.b)
                if each.name.startswith(("enter", "leave"))
                else self.call(lambda: function(self, t, u, each.a, each.b))
            )
            noted = [each.name]
            for value in result if isinstance(result, (list, tuple)) else [result]:
                if isinstance(value, torch.Tensor):
                    self.tensors.append(value)
                elif value is not None:
                    noted.append(str(value))
        except Exception as error:
            if not isinstance(error, _OF_PROGRAMS):
                raise
            message = str(error).partition("\nException raised from")[0]  # where in C++, and by which calls
            noted = [each.name, type(error).__name__, message.replace("DeviceTensor", "Tensor")]
        self.trace.append(" ".join(noted))
        while len(self.tensors) > MOST_TENSORS:
            del self.tensors[(each.a + each.b) % len(self.tensors)]

    def call(self, function: Callable[[], Any]) -> Any:
        """Call it in the thread that the program is in."""
        if not any(block.thread for block in self.blocks):
            return function()
        if self.pool is None:
            self.pool = ThreadPoolExecutor(1)
        return self.pool.submit(function).result()

    def enter(self, context: AbstractContextManager[Any], thread: bool = False, device: bool = False) -> None:
        """Enter a block of the program."""
        session = self.call(context.__enter__)
        self.blocks.append(Block(context, thread, device, session if device and self.on_device else None))

    def enter_device(self, again: bool = False, **keywords: Any) -> None:
        """Enter a block of a new `device_mode`, or of the first one `again`; on CPU, of nothing."""
        if not self.on_device:
            return self.enter(nullcontext(), device=True)
        if not (again and self.modes):
            self.modes.append(ttreg.device_mode(device="emulated", **keywords))
        return self.enter(self.modes[0 if again else -1], device=True)

    def leave(self) -> None:
        """Leave the innermost block."""
        block = self.blocks.pop()
        self.call(lambda: block.context.__exit__(None, None, None))

    def takes(self, *names: str) -> bool:
        """Whether the program has a step of one of the names."""
        return any(s.name in names for s in self.program)

    @property
    def inside(self) -> bool:
        """Whether a mode handles the calls of the thread that the program is in."""
        for block in reversed(self.blocks):
            if block.device or block.thread:
                return block.device
        return False

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of a plain tensor on the innermost block's device; on CPU, and outside, just a copy."""
        plain = tensor if _dense(tensor) else tensor.contiguous()
        if plain.dtype not in _ON_DEVICE or (self.bits and plain.dtype is torch.int64):
            return plain.clone()  # no ttnn dtype carries it
        sessions = [block.session for block in self.blocks if block.session is not None]
        return sessions[-1].to_device(plain) if sessions else plain.clone()

    def like(self, t: torch.Tensor, number: int) -> torch.Tensor:
        """A tensor that can be an operand beside `t`: of the same shape mostly, so that it often shares memory."""
        others = [other for other in self.tensors if other.shape == t.shape]
        return (others + self.tensors[:1])[number % (len(others) + 1)]

    def converts(self, source: torch.Tensor, target: torch.dtype) -> bool:
        """Whether C++ defines what the values become in the other dtype: not where a float is out of range or NaN."""
        if not self.bits or source.dtype == target:
            return True
        return not source.dtype.is_complex and (not source.dtype.is_floating_point or target.is_floating_point)

    def regular(self, t: torch.Tensor) -> bool:
        """Whether rows of it can be looked up exactly: float32 ones can unless numbers are denormal, as bits may be."""
        return not self.bits or t.dtype is not torch.float32

    def described(self) -> list[str]:
        """What code can observe of the live tensors and arrays."""
        storages = [t.untyped_storage()._cdata for t in self.tensors]
        return [
            *(f"{describe(t)} in {t.untyped_storage().nbytes()} bytes" for t in self.tensors),
            f"same objects {_first_places([id(t) for t in self.tensors])}",
            f"same storages {_first_places(storages)}",
            *(f"{a.dtype} {a.shape} {_strides(a.shape, a.strides)} {a.tobytes().hex()}" for a in self.arrays),
        ]


class Block(NamedTuple):
    """A block that the program is inside."""

    context: AbstractContextManager[Any]
    thread: bool
    device: bool
    session: ttreg.Session | None


_ON_DEVICE = (torch.float32, torch.bfloat16, torch.int32, torch.int64, torch.bool, torch.uint8)

# An error of any other type is one of the steps' own.
_OF_PROGRAMS = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, BufferError)


def describe(t: torch.Tensor) -> str:
    """Metadata and content of a tensor; or why autograd no longer lets it be looked at."""
    try:
        return _described(t)
    except RuntimeError as error:
        return str(error)


def _described(t: torch.Tensor) -> str:
    kind = "Parameter" if isinstance(t, torch.nn.Parameter) else "Tensor"
    flags = [name for name in ("requires_grad", "is_leaf") if getattr(t, name)]
    flags += [
        name for name in ("is_inference", "is_conj", "is_neg", "is_contiguous", "is_shared") if getattr(t, name)()
    ]
    geometry = f"{tuple(t.shape)} {_strides(t.shape, t.stride())} {t.storage_offset() if t.numel() else 0}"
    return f"{kind} {t.dtype} {geometry} {' '.join(flags)} {content(t)}"


def content(t: torch.Tensor) -> str:
    """The bits of a tensor's elements, with one NaN for all."""
    t = t.detach().resolve_conj().resolve_neg()
    plain = torch.empty(t.shape, dtype=t.dtype).copy_(t)
    if plain.dtype.is_complex:
        plain = torch.view_as_real(plain)
    if plain.dtype.is_floating_point:
        plain[plain.isnan()] = float("nan")
    return plain.view(-1).view(torch.uint8).numpy().tobytes().hex()


def _strides(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Those that matter: in a dimension of one element, PyTorch's own vary from device to device.

    So does where a tensor without elements begins, if it was cut from such a dimension.
    """
    return [stride for size, stride in zip(shape, strides, strict=True) if size != 1 and 0 not in shape]


def _dense(t: torch.Tensor) -> bool:
    return t.clone().stride() == t.stride()  # a clone keeps the strides that leave no gaps


def _first_places(values: list[int]) -> list[int]:
    return [values.index(value) for value in values]
