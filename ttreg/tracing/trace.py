"""A session that also writes what it does, and when, to a file: what `device_mode(trace=…)` opens.

These classes replace `Session` and `Dispatcher`, so that a session without a trace pays nothing for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch

from ..amounts import size
from ..call import Call, describe, tensors_in
from ..conditions import Refusal
from ..costs.work import Amount
from ..devices.base import Device, Value
from ..errors import DeviceError
from ..fallback import host
from ..memory.chains import ViewOf
from ..memory.relayout import Route
from ..meta import Meta, meta_of
from ..places import Place, Places
from ..plan import Placement, Plan
from ..pytorch_private import OpOverload
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..runtime.values import Move
from ..settings import Settings
from .costs import TracedRecorder, said
from .lines import Kind, Lines
from .signposts import Signposts
from .trace_file import TraceFile

if TYPE_CHECKING:
    from ..report import Report

TRANSFERS = "transfers"
LANES: dict[Placement, str] = {
    "device": "device ops",
    "host": "host ops",
    "local": "host ops",
    "decomposed": "decomposed ops",
    "view": "views",
}
_OF_THE_DEVICE = frozenset((LANES["device"], TRANSFERS))


class _Lanes(threading.local):
    """The numbers of a thread's lanes, which go with the thread; whether it is the session's own."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}
        self.own = False
        self.depth = 0  # of the events that are under way


@dataclass
class Event:
    """What is to be written of a stretch of time, and counted for the line that it comes from."""

    name: str
    lane: str
    category: str
    args: dict[str, Any]
    is_op: bool = False  # the others are counted only outside of ops, in which they count already
    inputs: str = ""
    outputs: str = ""
    nbytes: int = 0
    reason: str = ""


class TracedSession(Session):
    """A session that writes its calls and transfers to a file, and sums them up by the program's lines."""

    recorder: TracedRecorder
    _recorder = TracedRecorder

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool, file: TraceFile):
        super().__init__(settings, device, sees_all_writes)
        self._file = file
        self.dispatch_seconds = 0.0
        self._lines, self._places, self._signposts = Lines(), Places(), Signposts(device)
        self._lanes = _Lanes()
        self._lanes.own = True
        self._process = file.process(f"ttreg, {device.name} {device.arch}")
        for lane in dict.fromkeys((*LANES.values(), TRANSFERS)):
            self._lane(lane)

    def event(self, event: Event) -> AbstractContextManager[None]:
        """Write the context as an event, with what `event` says at the end of it."""
        return self._during(event, self._places.here())  # not in there, where contextlib is the innermost line

    @contextmanager
    def _during(self, event: Event, place: Place) -> Iterator[None]:
        lanes, args = self._lanes, event.args
        args |= _of_place(place)
        if event.lane in _OF_THE_DEVICE:
            self._signposts.pass_by(place)
        before, outer = self._held_now(), self.recorder.begin()
        lanes.depth += 1
        start = perf_counter_ns()
        try:
            yield
        except BaseException as error:
            args["raised"] = type(error).__name__
            if event.is_op and isinstance(error, DeviceError):
                error.args = (f"{error}{_where(place, before)}",)
            raise
        finally:
            end = perf_counter_ns()
            lanes.depth -= 1
            made, after = self.recorder.end(outer), self._held_now()
            args |= said(made, self._arch()) | {"memory_before": before, "memory_after": after}
            self._file.range(event.name, event.category, self._process, self._lane(event.lane), start, end, args)
            if event.is_op or not lanes.depth:
                self._count(event, place, (end - start) / 1e9, made, before, after)

    def _count(self, event: Event, place: Place, seconds: float, made: Amount, before: int, after: int) -> None:
        if event.category == "decomposed":  # its parts are counted
            seconds, made = 0.0, Amount()
        shapes = " -> ".join(filter(None, (event.inputs, event.outputs)))
        kind = Kind(place, event.name, event.category, event.reason)
        self._lines.add(kind, seconds, event.nbytes, shapes, made, before, after)

    def _held_now(self) -> int:
        with self.device.lock:
            return self.held()

    def _arch(self) -> str:
        return self.device.arch or self.settings.arch

    def report(self) -> Report:
        """As `Session.report`, with the place of the trace, and what each line of the program did."""
        from ..report import TracePart

        made = super().report()
        made.lines = self._lines.rows(self._arch())
        made.trace = TracePart(file=str(self._file.path), process=self._process, dispatch_seconds=self.dispatch_seconds)
        return made

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host, and count it."""
        event = Event("download", TRANSFERS, "transfer", {})
        with self.event(event):
            plain = super().download(value)
            event.args |= {"tensor": str(meta_of(plain)), "bytes": plain.nbytes}
            event.inputs, event.nbytes = str(meta_of(plain)), plain.nbytes
        return plain

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """The device values of a view op's outputs, from that of its input."""
        name, outputs = f"{view.plan.op}, when its data is needed", [str(meta) for meta in view.plan.outputs]
        args = {"op": str(view.plan.op), "inputs": [str(view.parent)], "outputs": outputs}
        with self.event(
            Event(name, LANES["device"], "view", args, inputs=str(view.parent), outputs=", ".join(outputs))
        ):
            return super().view_values(view, parent)

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """The device value of a view, from that of the whole storage."""
        args = {"inputs": [str(source)], "outputs": [str(target)]}
        with self.event(Event("relayout", LANES["device"], "view", args, inputs=str(source), outputs=str(target))):
            return super().relaid(value, source, target, way)

    def close(self) -> None:
        """As `Session.close`; the file is complete then."""
        try:
            super().close()
        finally:
            self._file.close()

    def _upload(
        self, plain: torch.Tensor, carrier: str, weight: bool, row_major: bool = False, move: Move | None = None
    ) -> Value:
        name, tensor = "upload of a weight" if weight else "upload", str(meta_of(plain))
        args = {"tensor": tensor, "as": carrier, "bytes": plain.nbytes}
        with self.event(Event(name, TRANSFERS, "transfer", args, inputs=tensor, nbytes=plain.nbytes)):
            return super()._upload(plain, carrier, weight, row_major, move)

    def _lane(self, name: str) -> int:
        lanes, thread = self._lanes, threading.current_thread().name
        lane = lanes.numbers.get((name, thread))
        if lane is None:
            title = name if lanes.own else f"{name} ({thread})"
            lane = lanes.numbers[name, thread] = self._file.lane(self._process, title)
        return lane


class TracedDispatcher(Dispatcher):
    """A dispatcher that writes each call to the session's file."""

    session: TracedSession

    def __init__(self, session: TracedSession, reenter: Callable[[], AbstractContextManager[Any]]):
        super().__init__(session, reenter)
        self._runs = {placement: partial(self._run_traced, run) for placement, run in self._runs.items()}
        self._instead: Refusal | None = None  # why the current call runs on the host although its plan says device
        self._running = 0  # nanoseconds that the current call has spent on running and on writing the trace

    def dispatch(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        """As `Dispatcher.dispatch`. All time other than running the call counts as dispatch."""
        outer, self._running = self._running, 0
        start = perf_counter_ns()
        try:
            return super().dispatch(op, args, kwargs)
        finally:
            seconds = (perf_counter_ns() - start - self._running) / 1e9
            self.session.dispatch_seconds += seconds  # in one step, since other threads may count here
            self._running = outer

    def _run_traced(self, run: Callable[..., Any], plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        begun = perf_counter_ns()
        call = Call.bind(plan.op, args, kwargs)  # before the call, which may resize or replace its tensors
        arguments = {name: describe(value) for name, value in call.arguments.items()}
        event = Event(str(plan.op), LANES[plan.placement], plan.placement, {"op": str(plan.op), "arguments": arguments})
        event.is_op, event.nbytes = True, plan.nbytes
        event.inputs = ", ".join(str(meta) for _, meta in call.tensors())
        outer, self._instead = self._instead, None
        try:
            with self.session.event(event):
                try:
                    result = run(plan, args, kwargs)
                    event.outputs = tensors_in(result)
                    return result
                finally:
                    refusal = plan.refusal if self._instead is None else self._instead
                    placement: Placement = plan.placement if self._instead is None else "host"
                    event.lane, event.category = LANES[placement], placement
                    event.args |= {"result": event.outputs} | _because(refusal)
                    event.reason = "" if refusal is None else str(refusal)
        finally:
            self._instead = outer
            self._running += perf_counter_ns() - begun

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        self._instead = refusal
        return super()._run_on_host_instead(plan, refusal, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        begun = perf_counter_ns()
        try:
            said_ = {"op": str(op), **_because(host.FOREIGN)}
            with self.session.event(Event(str(op), LANES["host"], "host", said_, True, reason=str(host.FOREIGN))):
                return super()._pass_through(op, args, kwargs)
        finally:
            self._running += perf_counter_ns() - begun


def _of_place(place: Place) -> dict[str, Any]:
    """The line, and the module, as in a row of `Report.lines`."""
    told = {"line": place.where, "model": place.model, "module": place.path, "backward": place.backward}
    return {name: value for name, value in told.items() if value}


def _where(place: Place, held: int) -> str:
    """Where an op failed and what the session held, for an error's message."""
    return f" (at {place}; the session held {size(held)} before)"


def _because(refusal: Refusal | None) -> dict[str, str]:
    """The reason, as in the report."""
    if refusal is None:
        return {}
    said = {"condition": refusal.condition, "got": refusal.got, "reason": refusal.because or str(refusal)}
    return {name: text for name, text in said.items() if text}
