"""Reads and writes a call's arguments as text: `f32[1, 64, 56, 56], dim=[1], dtype=float32`. No code is evaluated."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from keyword import kwlist
from math import inf, nan
from typing import Any

import torch

from .errors import TtregError
from .meta import Meta, dtype_name, intern

FORMS = """\
tensors as f32[1, 64, 56, 56] or float32[1, 64, 56, 56], f32[] without dimensions, f32[2, 3](1, 2) with strides,
f32[1, 64, 56, 56](channels_last) in a memory format; lists of them; numbers, True, None, 'texts', float32"""

_PREFIXES = {"f": "float", "bf": "bfloat", "i": "int", "u": "uint", "c": "complex"}
_FORMATS = {
    name: getattr(torch, name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
_NAMES: dict[str, Any] = {
    **{str(v).removeprefix("torch."): v for v in vars(torch).values() if isinstance(v, (torch.dtype, torch.layout))},
    **_FORMATS,
    "cpu": torch.device("cpu"),
    "meta": torch.device("meta"),
    "inf": inf,
    "nan": nan,
}
_WITHOUT_DIMENSIONS = re.compile(r"(?<=\w)\[\s*\]")
_KEYWORD = re.compile(rf"\b({'|'.join(kwlist)})\s*=(?!=)")  # aten has an argument named `from`


class ArgumentsError(TtregError, ValueError):
    """The text of a call's arguments cannot be read."""


def read(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parse positional and keyword arguments from the text, with a `Meta` for each tensor.

    Raises ArgumentsError, saying which part cannot be read.
    """
    try:
        return _read(text)
    except RecursionError:
        raise ArgumentsError("cannot read the arguments: they are nested too deeply") from None


def _read(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    source = _KEYWORD.sub(r"\1_=", _WITHOUT_DIMENSIONS.sub("[()]", text))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of code that would be run
            call = ast.parse(f"call({source})", mode="eval").body
    except SyntaxError as error:
        raise ArgumentsError(f"cannot read {text!r:.200}: {error.msg}; a call is written with {FORMS}") from None
    except (ValueError, MemoryError) as error:
        raise ArgumentsError(f"cannot read the arguments: {error or 'they are nested too deeply'}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ArgumentsError(f"cannot read {text!r:.200}: the brackets do not match")
    keywords: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _unread(keyword.value)
        name = keyword.arg.removesuffix("_")
        keywords[name if name in kwlist else keyword.arg] = _value(keyword.value)
    return tuple(map(_value, call.args)), keywords


def write(value: Any) -> str:
    """Write an argument's value in the form that `read` takes."""
    if isinstance(value, Meta):
        return _written_tensor(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(write, value))}]"
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    if isinstance(value, (torch.memory_format, torch.layout)):
        return str(value).removeprefix("torch.")
    if isinstance(value, torch.device):
        return str(value)
    return repr(value)


def write_call(arguments: Mapping[str, Any]) -> str:
    """Write named arguments in the form that `read` takes."""
    return ", ".join(f"{name}={write(value)}" for name, value in arguments.items())


def dtype_of(name: str) -> torch.dtype | None:
    """The dtype with this name: `float32`, `f32`, `bf16`, `i64`, `u8`, `c64`, `bool`."""
    match = re.fullmatch(r"([a-z]+)(\d+)", name)
    if match is not None and match[1] in _PREFIXES:
        name = _PREFIXES[match[1]] + match[2]
    found = _NAMES.get(name)
    return found if isinstance(found, torch.dtype) else None


def short_dtype(dtype: torch.dtype) -> str:
    """`torch.float32` as `f32`; dtypes without a short name keep theirs."""
    name = dtype_name(dtype)
    match = re.fullmatch(r"([a-z]+)(\d+)", name)
    short = {long: short for short, long in _PREFIXES.items()}
    return short[match[1]] + match[2] if match is not None and match[1] in short else name


def _written_tensor(meta: Meta) -> str:
    shape = f"{short_dtype(meta.dtype)}[{', '.join(map(str, meta.shape))}]"
    offset = f", offset={meta.offset}" if meta.offset else ""
    if meta.stride == _contiguous(meta.dtype, meta.shape).stride and not offset:
        return shape
    return f"{shape}({', '.join(map(str, meta.stride))}{offset})"


def _value(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        return list(map(_value, node.elts))
    if isinstance(node, ast.Constant) and not isinstance(node.value, bytes) and node.value is not ...:
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand)
        if isinstance(number, (int, float, complex)) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):  # 1 + 2j
        real, imaginary = _value(node.left), _value(node.right)
        if isinstance(real, (int, float)) and isinstance(imaginary, complex):
            return real + imaginary if isinstance(node.op, ast.Add) else real - imaginary
    if isinstance(node, ast.Subscript):
        return _tensor(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
        return _strided_tensor(node, _tensor(node.func))
    if isinstance(node, (ast.Name, ast.Attribute)):
        name = ast.unparse(node).removeprefix("torch.")
        value = _NAMES.get(name, dtype_of(name))
        if value is not None:
            return value
    raise _unread(node)


def _tensor(node: ast.Subscript) -> Meta:
    name = ast.unparse(node.value).removeprefix("torch.")
    dtype = dtype_of(name)
    if dtype is None:
        known = "f32, bf16, f16, f64, i32, i64, u8, bool, c64 or PyTorch's own names"
        raise ArgumentsError(f"{name!r} in {_shown(node)} is no dtype; known are {known}")
    sizes = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return _contiguous(dtype, tuple(_integer(size, node) for size in sizes))


def _strided_tensor(node: ast.Call, meta: Meta) -> Meta:
    offset = 0
    for keyword in node.keywords:
        if keyword.arg != "offset":
            raise ArgumentsError(f"{_shown(node)} takes strides or a memory format, and offset")
        offset = _integer(keyword.value, node)
    first = node.args[0] if len(node.args) == 1 else None
    if isinstance(first, (ast.Name, ast.Attribute)):
        name = ast.unparse(first).removeprefix("torch.")
        if name not in _FORMATS:
            raise ArgumentsError(f"{name!r} in {_shown(node)} is no memory format; known are {', '.join(_FORMATS)}")
        try:
            laid_out = torch.empty(meta.shape, dtype=meta.dtype, device="meta", memory_format=_FORMATS[name])
        except RuntimeError as error:
            raise ArgumentsError(f"{_shown(node)}: {error}") from None
        stride = laid_out.stride()
    else:
        stride = tuple(_integer(size, node) for size in node.args)
    if len(stride) != meta.ndim:
        raise ArgumentsError(f"{_shown(node)} has {meta.ndim} dimensions and {len(stride)} strides")
    last = offset + sum(max(size - 1, 0) * step for size, step in zip(meta.shape, stride, strict=True))
    if max((last + 1, *stride)) * meta.dtype.itemsize >= 1 << 63:
        raise ArgumentsError(f"{_shown(node)} reaches further than 63 bits can count")
    return intern(meta.dtype, meta.shape, stride, offset)


def _contiguous(dtype: torch.dtype, shape: tuple[int, ...]) -> Meta:
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= max(size, 1)
    if step * dtype.itemsize >= 1 << 63:
        raise ArgumentsError(f"{dtype_name(dtype)}{list(shape)} has more bytes than 63 bits can count")
    return intern(dtype, shape, tuple(reversed(stride)))


def _integer(node: ast.expr, where: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    raise ArgumentsError(f"{_shown(node)} in {_shown(where)} is no size; expected an integer, 0 or larger")


def _unread(node: ast.expr) -> ArgumentsError:
    hint = f"; a text is quoted: '{node.id}'" if isinstance(node, ast.Name) else ""
    return ArgumentsError(f"cannot read {_shown(node)}{hint}; a call is written with {FORMS}")


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node).replace("[()]", "[]")
    return text if len(text) <= 200 else f"{text[:200]}…"
