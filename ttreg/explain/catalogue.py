"""Collects what the registry knows about an entry, for `ttreg list` and `ttreg show`."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torch

from ..call import Call
from ..conditions import Dtype, Never
from ..notation import short_dtype, write_call
from ..pytorch_private import decompositions, tree_leaves
from ..registry import Entry, Kind
from ..schema import is_composite, tensor_arguments
from .accuracy import Accuracy, accuracy
from .limits import Remark, remarks
from .lookup import derived_forms

IN_BFLOAT16 = "in bfloat16, as of every op, NaN becomes an infinity and -0.0 becomes 0.0; numbers below 1.2e-38 are 0"


@dataclass(frozen=True)
class Row:
    """An entry in one line: the placement, the number of conditions, and the dtypes of the first tensor."""

    op: str
    family: str
    placement: Kind
    conditions: int
    dtypes: tuple[str, ...]  # the dtypes that the conditions allow; none if the host always runs the op
    samples: int
    f32_error: float | None = None  # the worst relative error in float32, where it is asked for


@dataclass(frozen=True)
class Says:
    """A condition, and its reason."""

    condition: str
    because: str


@dataclass(frozen=True)
class Tried:
    """A sample call, and the condition that refuses it, if one does."""

    call: str
    refused: str


@dataclass(frozen=True)
class Lowering:
    """A lowering's name, its place as file:line, its code, and the values that its closure holds."""

    name: str
    source: str
    code: str
    around: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """A timed call: median microseconds for each way, and the machine and date."""

    call: str
    microseconds: dict[str, float]  # by way, as in `ttreg bench --json`
    taken: str


@dataclass(frozen=True)
class Detail:
    """All that the registry knows of an op."""

    op: str
    family: str
    placement: Kind
    module: str
    op_schema: str
    conditions: tuple[Says, ...]
    forms: tuple[str, ...]  # the in-place and `out=` overloads that the entry serves as well
    arrives: dict[str, str]  # how an argument reaches the lowering, if that is special
    decomposition: str  # where PyTorch has one
    lowering: Lowering | None
    samples: tuple[Tried, ...]
    chip: tuple[str, ...]  # known differences between a chip and PyTorch
    limits: tuple[Remark, ...]  # remarks of docs/ttnn-limits.md on the ttnn functions that the lowering calls
    accuracy: tuple[Accuracy, ...]  # the measured accuracy on a chip, by dtype; none if it was not measured
    measured: tuple[Measured, ...] = ()  # the op's calls in a file of figures


def row(entry: Entry) -> Row:
    """The entry in a line."""
    conditions = [c for c in entry.conditions if not isinstance(c, Never)]
    samples = sum(1 for _ in entry.samples())
    return Row(str(entry.op), entry.family, entry.kind, len(conditions), _dtypes(entry), samples)


def detail(entry: Entry) -> Detail:
    """Everything that the registry knows about the entry."""
    return Detail(
        op=str(entry.op),
        family=entry.family,
        placement=entry.kind,
        module=entry.module,
        op_schema=str(entry.op._schema),
        conditions=tuple(Says(str(c), c.because) for c in entry.conditions),
        forms=tuple(map(str, derived_forms(entry))),
        arrives={name: text for name, spec in entry.takes.items() if (text := spec.says())},
        decomposition=_decomposition(entry),
        lowering=_lowering(entry.function) if entry.function is not None else None,
        samples=tuple(_tried(entry)),
        chip=tuple(_on_a_chip(entry)),
        limits=tuple(remarks(_called(entry.function))) if entry.function is not None else (),
        accuracy=accuracy(str(entry.op)) if entry.kind == "device" else (),
    )


def _on_a_chip(entry: Entry) -> Iterator[str]:
    if entry.chip:
        yield f"in float32, {entry.chip}"
    dtypes = {dtype for c in entry.conditions if isinstance(c, Dtype) for dtype in c.allowed}
    if entry.kind == "device" and torch.bfloat16 in dtypes:
        yield IN_BFLOAT16


def _dtypes(entry: Entry) -> tuple[str, ...]:
    first = next(iter(tensor_arguments(entry.op)), None)
    said = [c.allowed for c in entry.conditions if isinstance(c, Dtype) and first in c.arguments()]
    return tuple(short_dtype(dtype) for dtype in (said[0] if said else ()) if all(dtype in s for s in said))


def _tried(entry: Entry) -> Iterator[Tried]:
    for sample in entry.samples():
        call = Call.bind(entry.op, sample.args, sample.kwargs)
        refusal = entry.refuse(entry.in_common_dtype(call)) if entry.kind == "device" else None
        yield Tried(write_call(call.arguments), str(refusal) if refusal is not None else "")


def _decomposition(entry: Entry) -> str:
    if is_composite(entry.op):
        return "PyTorch's own kernel is made of other ops"
    decomposition_table = decompositions()

    function = decomposition_table.get(entry.op)
    return _source(inspect.unwrap(function)) if function is not None else ""


def _lowering(function: Callable[..., Any]) -> Lowering:
    try:
        code = inspect.getsource(function)
    except OSError:  # made where there is no file
        code = ""
    around = {name: _shown(value) for name, value in inspect.getclosurevars(function).nonlocals.items()}
    return Lowering(
        f"{function.__module__}.{function.__name__}", _source(function), textwrap.dedent(code).rstrip(), around
    )


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, FunctionType) else repr(value)


def _source(function: Any) -> str:
    """The file, from the working directory or the folder of packages if it lies there, and the line."""
    try:
        path, line = inspect.getsourcefile(function), inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return ""
    near = Path(path or "")
    for folder in (Path(torch.__file__).parent.parent, Path.cwd()):
        if near.is_relative_to(folder):
            near = near.relative_to(folder)
    return f"{near}:{line}"


def _called(function: Callable[..., Any], seen: set[Any] | None = None) -> set[str]:
    """The names that the lowering looks up in `tt`, directly or in functions of entries that it calls."""
    seen = set() if seen is None else seen
    if not isinstance(function, FunctionType) or function in seen:
        return set()
    seen.add(function)
    names = set(function.__code__.co_names)
    around = [cell.cell_contents for cell in function.__closure__ or ()]
    names |= {value for value in tree_leaves(around) if isinstance(value, str)}
    for value in [*around, *(function.__globals__.get(name) for name in function.__code__.co_names)]:
        if isinstance(value, FunctionType) and value.__module__.startswith("ttreg.ops."):
            names |= _called(value, seen)
    return names
