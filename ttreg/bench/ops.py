"""Measures calls of the registry's ops: on plain CPU, left to the host, emulated, and on a mocked chip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from pydantic import BaseModel

from ..devices import open_device
from ..devices.base import Value
from ..memory.tensor import DeviceTensor
from ..meta import Meta, meta_of
from ..pytorch_private import disable_current_modes, tree_map_only
from ..registry import Entry, registry
from ..runtime.session import Session
from ..samples import Sample, one_thread
from ..settings import Settings
from ..verification.trial import decision
from .calls import Shapes, calls, described
from .timing import Way, interleaved, pinned, spread, under

Arguments = tuple[list[Any], dict[str, Any]]

# By name in a row, what tables call them.
WAYS = {"cpu": "plain CPU", "host": "left to the host", "emulated": "emulated", "mock": "mocked chip"}

# Arguments that a model keeps on the host, and whose uploads and prepared forms a session keeps.
_WEIGHTS = frozenset(("weight", "bias"))

# The first call makes kernels, and the second finds out how many calls make a sample.
_WARM_UP, _SAMPLE_SECONDS, _MOST_CALLS = 2, 2e-3, 10

_EVERYTHING_IS_TOO_SMALL = 1 << 62


class Time(BaseModel):
    """The median over the rounds, in microseconds a call, and the distance of the quartiles as a share of it."""

    microseconds: float
    spread: float


class Row(BaseModel):
    """One call: its time in each way of running it, and the error if it failed."""

    op: str
    family: str
    shapes: str
    call: str
    cpu: Time | None = None
    host: Time | None = None
    emulated: Time | None = None
    mock: Time | None = None
    error: str = ""


class Benchmark(BaseModel):
    """A run of `ttreg bench`."""

    machine: dict[str, str]  # its CPU, and versions
    taken: str = ""  # the day, as 2026-01-31; older files have none
    arch: str
    rounds: int
    rows: list[Row]


def chosen(patterns: Sequence[str], shapes: Shapes) -> list[tuple[Entry, str, Sample]]:
    """The calls of the entries that the patterns name, those that an entry's conditions accept."""
    session = Session(Settings(device="emulated"), open_device(Settings(device="emulated")))
    return [
        (entry, source, sample)
        for entry in registry.matching(patterns, "device")
        for source, sample in calls(entry, shapes)
        if decision(session, entry, sample) is None
    ]


def measure(found: Iterable[tuple[Entry, str, Sample]], arch: str, rounds: int) -> Iterator[Row]:
    """A row for each call. This process has a mocked chip of the arch from then on."""
    settings = {
        "host": Settings(device="emulated", arch=arch, min_upload_numel=_EVERYTHING_IS_TOO_SMALL),
        "emulated": Settings(device="emulated", arch=arch, min_upload_numel=0),
        "mock": Settings(device="mock", arch=arch, min_upload_numel=0),
    }
    devices = {name: open_device(setting) for name, setting in settings.items()}
    with one_thread(), pinned():
        for entry, source, sample in found:
            sessions = {name: Session(settings[name], device) for name, device in devices.items()}
            for session in sessions.values():
                session.may_wait = False  # nothing else needs the results
            row = Row(op=str(entry.op), family=entry.family, shapes=source, call=described(entry, sample))
            try:
                taken = _measured(entry, sample, sessions, rounds)
            except Exception as error:  # after any error, the other calls are still measured
                row.error = f"{type(error).__name__}: {error}".splitlines()[0]
            else:
                row = row.model_copy(update=taken)
            for session in sessions.values():
                session.close()
            yield row


def _measured(entry: Entry, sample: Sample, sessions: dict[str, Session], rounds: int) -> dict[str, Time]:
    plain = _as_in_a_model(entry, sample)

    def call(args: Any, kwargs: Any) -> Any:
        return entry.op(*args, **kwargs)

    def on(device: str) -> Way:
        session = sessions[device]

        def call_and_ask(args: Any, kwargs: Any) -> None:
            # Lazy results, such as views, are computed here.
            result = call(args, kwargs)
            first = result[0] if isinstance(result, (list, tuple)) else result
            if isinstance(first, DeviceTensor):
                # Work of the lowering on plain tensors must not be dispatched.
                with disable_current_modes() if first._cell.lazy is not None else nullcontext():
                    session.value(first)

        return Way(call_and_ask, _uploaded(session, plain), under(session))

    ways = {"cpu": Way(call, lambda: plain), "host": Way(call, lambda: plain, under(sessions["host"]))}
    with torch.inference_mode():  # without it, composite ops do not arrive whole
        ways |= {device: on(device) for device in ("emulated", "mock")}
        for _ in range(_WARM_UP):
            slowest = max(way.sample(1) for way in ways.values())
        taken = interleaved(ways, rounds, calls=max(1, min(_MOST_CALLS, int(_SAMPLE_SECONDS / slowest))))
    return {way: Time(microseconds=median(s) * 1e6, spread=spread(s)) for way, s in taken.items()}


def _as_in_a_model(entry: Entry, sample: Sample) -> Arguments:
    """The sample's arguments, its weights as parameters, no tensor with gaps."""

    def laid_out(name: str, value: Any) -> Any:
        dense = tree_map_only(torch.Tensor, lambda t: t if _is_dense(t) else t.contiguous(), value)
        if name in _WEIGHTS and isinstance(dense, torch.Tensor) and dense.is_floating_point():
            return torch.nn.Parameter(dense, requires_grad=False)
        return dense

    names = [argument.name for argument in entry.op._schema.arguments]
    args = [laid_out(name, value) for name, value in zip(names, sample.args, strict=False)]
    return args, {name: laid_out(name, value) for name, value in sample.kwargs.items()}


def _is_dense(tensor: torch.Tensor) -> bool:
    return meta_of(tensor).at_start().covers(tensor.nbytes)


def _uploaded(session: Session, plain: Arguments) -> Callable[[], Arguments]:
    """The arguments with device tensors. They are new at each call, because used tensors have cached views."""

    def value(tensor: torch.Tensor) -> Any:
        stays = isinstance(tensor, torch.nn.Parameter) or not tensor.numel()
        if stays or tensor.dtype is torch.int64 or tensor.dtype not in session.carriers:
            return tensor
        return _OnDevice(meta_of(tensor).at_start(), session.value(session.to_device(tensor)))

    uploaded = tree_map_only(torch.Tensor, value, plain)
    return lambda: tree_map_only(_OnDevice, lambda t: session.new_tensor(t.meta, t.value), uploaded)


@dataclass(frozen=True)
class _OnDevice:
    meta: Meta
    value: Value
