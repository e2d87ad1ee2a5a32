"""Makes a call of a variations file on the emulated device, with its ttnn calls made on a mocked chip too."""

from __future__ import annotations

import math
import resource
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from _calls import Line
from _inputs import values_for

from ttreg import device_mode
from ttreg.checking.compare import pcc
from ttreg.coverage.variations import Variation, variation
from ttreg.errors import first_line
from ttreg.explain.lookup import UnknownOpError
from ttreg.memory.padding import mostly_padding
from ttreg.meta import meta_of
from ttreg.notation import write, write_call
from ttreg.pytorch_private import OpOverload, tree_leaves, tree_map_only
from ttreg.registry import registry
from ttreg.runtime.session import Session
from ttreg.schema import is_view
from ttreg.verification.trial import Output, outputs_of

# A PCC of so much is asked for, by what carries the result. A PCC does not see a wrong scale or an offset, so that the
# difference may not have a larger norm, relative to the result, than the noise that this PCC stands for.
LIMITS = {torch.float32: 0.999, torch.bfloat16: 0.99}

# Or the device is as near to the exact result as CPU: this many times as far at most.
_AS_GOOD = 4

# The families of ops that move numbers and compute none: their results are equal to the CPU's.
_MOVING = frozenset(
    (
        "copies",
        "creation",
        "data_movement",
        "diagonal",
        "embedding",
        "indexing",
        "pad",
        "parts_replaced",
        "select",
        "slicing",
        "slicing_backward",
        "views",
        "windows",
    )
)

# What an op makes without saying what is in it.
_UNSAID = ("aten.empty.memory_format", "aten.new_empty_strided.default")

_OUTCOMES = {"host": "host", "device": "device", "view": "device", "decomposed": "device", "local": "local"}


def work(connection: Connection, keywords: dict[str, Any]) -> None:
    """Run in a worker process: answer each line with what became of it."""
    torch.set_num_threads(1)
    registry.load()
    connection.send("ready")
    with suppress(EOFError):
        while True:
            connection.send(tried(connection.recv(), keywords))


def tried(line: Line, keywords: dict[str, Any]) -> dict[str, Any]:
    """What became of a call, as a record to keep."""
    start = time.monotonic()
    said: dict[str, Any] = {"key": line.key, "line": line.number, "op": line.op}
    try:
        call = variation(line.number, {"op": line.op, "args": line.args})
    except UnknownOpError as unknown:
        return said | {"outcome": "refused", "why": str(unknown)}
    said["call"] = write_call(call.arguments)
    given = values_for_or_error(call, line.key)
    if isinstance(given, str):
        return said | {"outcome": "refused", "why": given}
    said |= compared(call, given, keywords)
    said["seconds"] = round(time.monotonic() - start, 2)
    said["resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return said


def values_for_or_error(call: Variation, key: str) -> dict[str, Any] | str:
    """The call's arguments with values, or why there are none."""
    try:
        with torch.no_grad():
            return values_for(call, key)
    except (RuntimeError, IndexError, TypeError, KeyError) as error:
        return f"no values suit it: {type(error).__name__}: {first_line(error)}"


def compared(call: Variation, given: dict[str, Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Make the call on CPU and on the device, and compare."""
    try:
        expected = on_cpu(call.op, given)
    except Exception as error:  # of whatever type PyTorch chooses
        return {"outcome": "refused", "why": f"PyTorch: {first_line(error)}"}
    try:
        with device_mode(device="emulated", min_upload_numel=0, **{"validate": True, **keywords}) as session:
            outputs = on_device(session, call.op, given)
            placed = placement(session)
    except Exception as error:  # of whatever type: it belongs to this call, and the others are still tried
        return {"outcome": "error", "why": f"{type(error).__name__}: {first_line(error)}"}
    if str(call.op) in _UNSAID:
        return placed
    worst, wrong = judged(call, given, outputs, expected)
    return (
        placed | ({"pcc": worst} if worst is not None else {}) | ({"outcome": "wrong", "why": wrong} if wrong else {})
    )


def on_cpu(op: OpOverload, given: dict[str, Any]) -> list[Output]:
    """What CPU gives."""
    torch.manual_seed(0)
    with torch.inference_mode():
        results = op(**tree_map_only(torch.Tensor, torch.clone, given))
    tensors = [result for result in tree_leaves(results) if isinstance(result, torch.Tensor)]
    return [Output(meta_of(tensor), tensor.contiguous()) for tensor in tensors]


def on_device(session: Session, op: OpOverload, given: dict[str, Any]) -> list[Output]:
    """What the device gives, inside of the session's block."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        # What is mostly padding in tiles, as kernels are, is uploaded in the form that the op asks for.
        stays = tensor.dtype not in session.carriers or not tensor.numel() or mostly_padding(meta_of(tensor))
        return tensor if stays else session.to_device(tensor)

    arguments = tree_map_only(torch.Tensor, moved, given)
    torch.manual_seed(0)
    with torch.inference_mode():  # under which composite ops arrive whole
        return outputs_of(session, op(**arguments))


def placement(session: Session) -> dict[str, Any]:
    """Where the call went; with why, if the host ran it or a part of it."""
    rows = [row for row in session.ledger.rows()[0] if row.count]
    counting = [row for row in rows if not row.is_bookkeeping] or rows
    for name, outcome in _OUTCOMES.items():
        for row in counting:
            if row.placement == name:
                told = {"condition": row.condition, "why": row.reason, "got": row.got, "part": row.op}
                return {"outcome": outcome} | (told if outcome == "host" else {})
    return {"outcome": "device"}


def judged(
    call: Variation, given: dict[str, Any], outputs: list[Output], expected: list[Output]
) -> tuple[float | None, str]:
    """The least PCC of the results, and how they differ from the CPU's, if they do."""
    if len(outputs) != len(expected):
        return None, f"there are {len(outputs)} results, the CPU gives {len(expected)}"
    worst: float | None = None
    for number, (output, cpus) in enumerate(zip(outputs, expected, strict=True)):
        if output.meta is not cpus.meta:
            return worst, f"result {number} is {write(output.meta)}, the CPU gives {write(cpus.meta)}"
        found, wanted = output.values, cpus.values
        if not wanted.numel() or torch.equal(found, wanted):
            continue
        if not wanted.is_floating_point() or moves(call.op):
            if not torch.equal(found.nan_to_num(), wanted.nan_to_num()):
                return worst, f"result {number} is not equal to the CPU's"
            continue
        correlation = pcc(found, wanted)
        worst = min(correlation, 1.0 if worst is None else worst)
        wrong = off(found, wanted, correlation)
        if wrong and not as_good(call, given, number, found, wanted):
            return worst, f"result {number}: {wrong}"
    return worst, ""


def moves(op: OpOverload) -> bool:
    """Whether the op moves numbers and computes none."""
    entry = registry.find(op)
    return is_view(op) or (entry is not None and entry.family in _MOVING)


def off(found: torch.Tensor, wanted: torch.Tensor, correlation: float) -> str:
    """How far a result is off, if it is too far."""
    limit = LIMITS.get(wanted.dtype, LIMITS[torch.float32])
    if not correlation >= limit:
        return f"a PCC of {correlation:.5f}, below {limit}"
    finite = wanted.isfinite()
    apart = (found[finite].double() - wanted[finite].double()).norm()
    relative = float(apart / wanted[finite].double().norm())
    return f"{relative:.3g} off by the norm" if relative > math.sqrt(2 * (1 - limit)) else ""


def as_good(call: Variation, given: dict[str, Any], number: int, found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether the device is about as near to the exact result as CPU is: where numbers cancel, neither is near."""

    def in_double(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    try:
        exact = on_cpu(call.op, tree_map_only(torch.Tensor, in_double, given))[number].values
    except RuntimeError:  # PyTorch has no such kernel
        return False
    apart, cpus = (float((result.double() - exact.double()).norm()) for result in (found, wanted))
    return apart <= _AS_GOOD * cpus
