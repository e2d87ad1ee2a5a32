"""Writes a program that repeats one call on the device, with the values that it had."""

from __future__ import annotations

import keyword
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch

from ..memory.tensor import DeviceTensor
from ..meta import Meta, meta_of
from ..pytorch_private import OpOverload, tree_leaves
from ..schema import argument_names
from ..settings import Settings

# Up to this many values are written into the text; more go to a file.
_INLINE = 64

# Settings that do not change a result.
_LEFT_OUT = ("check", "device", "min_upload_numel", "on_fallback", "on_device_error", "device_id", "trace")


@dataclass
class Input:
    """A tensor argument of a call: a plain copy with its strides, and how the program has it."""

    tensor: torch.Tensor
    on_device: bool = False
    block_float: str | None = None

    @classmethod
    def of(cls, given: torch.Tensor, values: torch.Tensor, block_float: str | None = None) -> Input:
        """The argument `given`, with the values of a plain tensor."""
        meta = meta_of(given).at_start()
        copied = spread(values, meta).as_strided(meta.shape, meta.stride)
        return cls(copied, isinstance(given, DeviceTensor), block_float)


def spread(values: torch.Tensor, meta: Meta) -> torch.Tensor:
    """Memory, as a vector, in which a tensor with metadata `meta` has these values."""
    # Dimensions with a stride of 0 show one element many times.
    values = values.detach()[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in meta.stride)]
    last = sum((size - 1) * stride for size, stride in zip(meta.shape, meta.stride, strict=True))
    memory = torch.zeros(meta.offset + last + 1 if meta.numel else 0, dtype=meta.dtype)
    if meta.numel:
        memory.as_strided(values.shape, meta.stride, meta.offset).copy_(values)
    return memory


def snippet(settings: Settings, op: OpOverload, args: tuple, kwargs: dict[str, Any], view: bool, module: str) -> str:
    """A program that makes one call under the same settings, its values in the text or in a file that it reads.

    `args` and `kwargs` have an `Input` for each tensor; `module` holds the lowering. What a view shows is asked for.
    """
    inputs = dict(_named(op, args, kwargs))
    names = {id(value): name for name, value in reversed(inputs.items())}  # a tensor that is passed twice has one name
    inputs = {name: value for name, value in inputs.items() if names[id(value)] == name}
    call = ", ".join([_text(a, names) for a in args] + [f"{k}={_text(v, names)}" for k, v in kwargs.items()])
    values = _in_text(inputs) if sum(map(_size, inputs.values())) <= _INLINE else _in_file(op, inputs)
    shown = "result"
    if view:  # the device makes it for whoever uses it
        shown = "result[0].clone()" if "List" in str(op._schema.returns[0].type) else "result.clone()"
    lines = [
        *_imports(op, module),
        "",
        *(["inf, nan = float('inf'), float('nan')"] if any(map(_is_odd, tree_leaves((args, kwargs)))) else []),
        *values,
        *_block_floats(inputs),
        f"with ttreg.device_mode({_keywords(settings)}) as session, torch.inference_mode():",
        f"    result = torch.ops.{op}({call})",
        f"    print({shown})",
    ]
    return "\n".join(lines) + "\n"


def _named(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Iterator[tuple[str, Input]]:
    for name, value in [*zip(argument_names(op), args, strict=False), *kwargs.items()]:
        name += "_" * keyword.iskeyword(name)
        if isinstance(value, Input):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from ((f"{name}_{n}", item) for n, item in enumerate(value) if isinstance(item, Input))


def _text(value: Any, names: dict[int, str]) -> str:
    """An argument as the program writes it."""
    if isinstance(value, Input):
        name = names[id(value)]
        return f"session.to_device({name})" if value.on_device else name
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_text(item, names) for item in value)}]"
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    return "None" if isinstance(value, torch.Generator) else repr(value)


def _imports(op: OpOverload, module: str) -> list[str]:
    lines = ["import torch", "import ttreg"]
    if op.namespace in sys.modules and op.namespace != module:  # the library that defines the op, such as torchvision
        lines.append(f"import {op.namespace}")
    if module == "__main__":
        lines.append(f"# Here goes what registers the entry of {op}: your main program has it.")
    elif not module.startswith("ttreg."):
        lines.append(f"import {module}  # registers the entry")
    return lines


def _in_text(inputs: dict[str, Input]) -> list[str]:
    lines = []
    for name, value in inputs.items():
        tensor = value.tensor
        if tensor.is_contiguous() and tensor.numel():
            lines.append(f"{name} = torch.tensor({tensor.tolist()}, dtype={tensor.dtype})")
        else:
            memory = f"torch.tensor({_memory(tensor).tolist()}, dtype={tensor.dtype})"
            lines.append(f"{name} = {memory}.as_strided({tuple(tensor.shape)}, {tensor.stride()})")
    return lines


def _in_file(op: OpOverload, inputs: dict[str, Input]) -> list[str]:
    descriptor, path = tempfile.mkstemp(".pt", f"ttreg-{op}-")
    with os.fdopen(descriptor, "wb") as file:
        torch.save({name: value.tensor for name, value in inputs.items()}, file)
    return [f"saved = torch.load({path!r}, weights_only=True)", *(f"{name} = saved[{name!r}]" for name in inputs)]


def _block_floats(inputs: dict[str, Input]) -> Iterator[str]:
    for name, value in inputs.items():
        if value.block_float is not None:
            yield f"{name} = torch.nn.Parameter({name})"
            yield f"ttreg.carry_in({name}, {value.block_float!r})"


def _keywords(settings: Settings) -> str:
    given = {"device": settings.device, "check": settings.check, "min_upload_numel": 0}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name not in _LEFT_OUT and value != field.default:
            given[field.name] = value
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    return spread(tensor, meta_of(tensor).at_start())


def _size(value: Input) -> int:
    return _memory(value.tensor).numel()


def _is_odd(value: Any) -> bool:
    if isinstance(value, Input):
        return value.tensor.is_floating_point() and not bool(value.tensor.isfinite().all())
    return isinstance(value, float) and not math.isfinite(value)
