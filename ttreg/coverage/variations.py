"""Reads a file of calls, one to a line as JSON, in the form that docs/coverage.md describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from ..errors import first_line
from ..explain.lookup import UnknownOpError, find_op
from ..meta import Meta, meta_of
from ..notation import dtype_of
from ..pytorch_private import OpOverload
from .targets import TargetError

_CONSTANTS = {
    "dtype": dtype_of,
    "memory_format": lambda name: getattr(torch, name, None),
    "layout": lambda name: getattr(torch, name, None),
    "device": torch.device,
    "float": float,
}


@dataclass(frozen=True)
class Variation:
    """A call: a line of the file, its op, and its arguments by name with a `Meta` for each tensor."""

    line: int
    op: OpOverload
    arguments: dict[str, Any]


class Skipped(BaseModel):
    """A line whose call this PyTorch does not have or refuses, and why."""

    line: int
    reason: str


def read(path: Path) -> Iterator[Variation | Skipped]:
    """The calls of the file; those of ops that this PyTorch does not have are skipped.

    Raises TargetError for a line that is no call, with what is wrong.
    """
    with path.open("rb") as lines:  # a line with a wrong encoding is one that is no call
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield variation(number, json.loads(line))
                except UnknownOpError as error:
                    yield Skipped(line=number, reason=str(error))
                except (ValueError, RuntimeError) as error:
                    first = str(error).partition("\n")[0]
                    raise TargetError(
                        f'{path}, line {number}: {first}; expected a call such as {{"op": "aten.relu.default", '
                        '"args": {"self": {"shape": [2, 3], "dtype": "float32"}}}'
                    ) from None


def variation(number: int, said: Any) -> Variation:
    """The call that a line says. Raises UnknownOpError, and ValueError with what is wrong."""
    if not isinstance(said, dict) or not isinstance(said.get("op"), str) or not isinstance(said.get("args"), dict):
        raise ValueError('it is no object with "op" and "args"')
    op: Any = find_op(said["op"])
    if not isinstance(op, OpOverload):
        raise ValueError(f"{said['op']} names no overload; it has {', '.join(op.overloads())}")
    return Variation(number, op, {name: _value(name, value) for name, value in said["args"].items()})


def _value(name: str, said: Any) -> Any:
    if isinstance(said, list):
        return [_value(name, item) for item in said]
    if not isinstance(said, dict):
        return said
    if "shape" in said:
        return _tensor(name, said)
    kind, text = next(iter(said.items()), ("", ""))
    value = _CONSTANTS[kind](text) if kind in _CONSTANTS and len(said) == 1 and isinstance(text, str) else None
    if value is None:
        raise ValueError(
            f'{name} is {json.dumps(said)}, which is neither a tensor ("shape" and "dtype") nor a constant'
        )
    return value


def _tensor(name: str, said: dict[str, Any]) -> Meta:
    dtype = dtype_of(str(said.get("dtype")))
    sizes = said["shape"]
    if dtype is None or not isinstance(sizes, list) or any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError(f'{name} is {json.dumps(said)}; a tensor has "shape", a list of sizes, and "dtype"')
    try:
        return meta_of(torch.empty(sizes, dtype=dtype, device="meta"))
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} is no tensor that PyTorch has: {first_line(error)}") from None
