"""One ttnn call as its cost sees it: shapes, dtypes and layouts of its tensors, the bytes it moves, its products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch

from .boards import BOARDS
from .products import flops_of
from .traffic import moved

_TILE = 32
_ALIGNED = 32  # bytes of a row in row-major layout

# Bits of an element. A block float also has an exponent of 8 bits for each 16 elements.
_BITS = {"bfloat16": 16.0, "uint16": 16.0, "uint8": 8.0, "bfloat8_b": 8.5, "bfloat4_b": 4.5}
_SHORT = {"float32": "f32", "bfloat16": "bf16", "int32": "i32", "uint32": "u32", "uint16": "u16", "uint8": "u8"}


class Operand(NamedTuple):
    """A tensor of the device: its logical shape, the name of its ttnn dtype, and whether it is in row-major layout."""

    shape: tuple[int, ...]
    dtype: str
    row_major: bool = False

    @property
    def logical(self) -> int:
        """Its bytes without padding."""
        return int(prod(self.shape) * _BITS.get(self.dtype, 32.0) / 8)

    @property
    def held(self) -> int:
        """Its bytes in the device's memory: rows and columns padded to whole tiles, or rows aligned."""
        if self.row_major:
            *lead, columns = (1, *self.shape)
            row = int(columns * _BITS.get(self.dtype, 32.0) / 8)
            return prod(lead) * -(-row // _ALIGNED) * _ALIGNED
        return int(prod(in_tiles(self.shape)) * _BITS.get(self.dtype, 32.0) / 8)

    def __str__(self) -> str:
        rows = " in rows" if self.row_major else ""
        return f"{_SHORT.get(self.dtype, self.dtype)}[{', '.join(map(str, self.shape))}]{rows}"


def in_tiles(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with its last two dimensions padded to tiles."""
    *lead, rows, columns = (1, 1, *shape)
    return (*lead, -(-rows // _TILE) * _TILE, -(-columns // _TILE) * _TILE)


@dataclass(frozen=True)
class DeviceCall:
    """A ttnn call: its name, its tensors, and what it costs at least."""

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    attributes: str = ""  # its other arguments, as text
    read: int = 0  # bytes with padding, as `written`
    written: int = 0
    logical: int = 0  # bytes that it reads and writes without padding
    flops: int = 0  # of the matrix unit
    fidelity: str = "LoFi"

    @cached_property
    def seconds(self) -> dict[str, float]:
        """For each architecture, the time below which its board cannot be: DRAM and matrix unit work side by side."""
        return {
            arch: max((self.read + self.written) / board.bandwidth, self.flops / board.flops(self.fidelity))
            for arch, board in BOARDS.items()
        }

    @property
    def operands(self) -> str:
        """Its tensors as text."""
        return ", ".join(map(str, self.inputs))


def device_call(name: str, args: tuple, kwargs: dict[str, Any], result: Any) -> DeviceCall:
    """Describe a call that was made, by the metadata of its tensors."""
    given = tuple(map(operand, _tensors((args, tuple(kwargs.values())))))
    made = tuple(map(operand, _tensors(result)))
    short = name.rpartition(".")[2]
    read, written, logical = moved(short, args, kwargs, given, made)
    flops = flops_of(short, args, kwargs, given, made)
    config = kwargs.get("compute_kernel_config", kwargs.get("compute_config"))
    # If a call says nothing, the lowest fidelity is assumed, which gives the lowest bound.
    fidelity = str(getattr(config, "math_fidelity", "LoFi")).rpartition(".")[2]
    return DeviceCall(name, given, made, _text(args, kwargs), read, written, logical, flops, fidelity)


def operand(value: Any) -> Operand:
    """What a cost depends on, of a device tensor."""
    dtype = str(value.dtype).rpartition(".")[2].lower()
    return Operand(tuple(value.shape), dtype, "ROW_MAJOR" in str(value.layout).upper())


def is_tensor(value: Any) -> bool:
    """Whether this is a device tensor."""
    return hasattr(value, "layout") and hasattr(value, "dtype") and not isinstance(value, torch.Tensor)


def _tensors(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif is_tensor(value):
        yield value


def _text(args: tuple, kwargs: dict[str, Any]) -> str:
    """The arguments that are no tensors: ttnn makes a program of its own for other values of most of them."""
    named = [*enumerate(args), *kwargs.items()]
    return ", ".join(f"{name}={_plain(value)}" for name, value in named if not is_tensor(value))


def _plain(value: Any) -> str:
    if is_tensor(value):
        return "·"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    if hasattr(value, "op_type"):  # a step of ttnn's, with its numbers
        return str(value)
    # The text of other objects has their address.
    return str(value) if isinstance(value, (bool, int, float, str)) or value is None else type(value).__name__
