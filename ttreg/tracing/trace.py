"""A session that also writes what it does, and when, to a file: what `device_mode(trace=…)` opens.

These classes replace `Session` and `Dispatcher`, so that a session without a trace pays nothing for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch

from ..call import Call, describe
from ..conditions import Refusal
from ..costs.work import Amount
from ..devices.base import Device, Value
from ..fallback import host
from ..memory.chains import ViewOf
from ..memory.relayout import Route
from ..meta import Meta, meta_of
from ..plan import Placement, Plan
from ..pytorch_private import OpOverload
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..settings import Settings
from .costs import TracedRecorder
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


class _Lanes(threading.local):
    """The numbers of a thread's lanes, which go with the thread; whether it is the session's own."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], int] = {}
        self.own = False


class TracedSession(Session):
    """A session that writes its calls and transfers to a file."""

    recorder: TracedRecorder
    _recorder = TracedRecorder

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool, file: TraceFile):
        super().__init__(settings, device, sees_all_writes)
        self._file = file
        self.dispatch_seconds = 0.0
        self._lanes = _Lanes()
        self._lanes.own = True
        self._process = file.process(f"ttreg, {device.name} {device.arch}")
        for lane in dict.fromkeys((*LANES.values(), TRANSFERS)):
            self._lane(lane)

    @contextmanager
    def event(self, name: str, lane: str, category: str, args: dict[str, Any]) -> Iterator[None]:
        """Write the context as an event, with the content of `args` at its end."""
        start, outer = perf_counter_ns(), self.recorder.begin()
        try:
            yield
        except BaseException as error:
            args["raised"] = type(error).__name__
            raise
        finally:
            args |= self.ended(outer)
            self.range(name, lane, category, start, args)

    def range(self, name: str, lane: str, category: str, start: int, args: dict[str, Any]) -> None:
        """Write what began at `start`, in nanoseconds of `time.perf_counter_ns`, and ends now."""
        self._file.range(name, category, self._process, self._lane(lane), start, args)

    def ended(self, outer: Amount) -> dict[str, Any]:
        """What the device had to do since `recorder.begin()` returned `outer`, for the event that ends now."""
        return self.recorder.end(outer, self.device.arch or self.settings.arch)

    def report(self) -> Report:
        """As `Session.report`, with the place of the trace."""
        from ..report import TracePart

        made = super().report()
        made.trace = TracePart(file=str(self._file.path), process=self._process, dispatch_seconds=self.dispatch_seconds)
        return made

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host, and count it."""
        args: dict[str, Any] = {}
        with self.event("download", TRANSFERS, "transfer", args):
            plain = super().download(value)
            args |= {"tensor": str(meta_of(plain)), "bytes": plain.nbytes}
        return plain

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """The device values of a view op's outputs, from that of its input."""
        args = {"op": str(view.plan.op), "inputs": [str(view.parent)], "outputs": [str(m) for m in view.plan.outputs]}
        with self.event(f"{view.plan.op}, when its data is needed", LANES["device"], "view", args):
            return super().view_values(view, parent)

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """The device value of a view, from that of the whole storage."""
        with self.event("relayout", LANES["device"], "view", {"inputs": [str(source)], "outputs": [str(target)]}):
            return super().relaid(value, source, target, way)

    def close(self) -> None:
        """As `Session.close`; the file is complete then."""
        try:
            super().close()
        finally:
            self._file.close()

    def _upload(self, plain: torch.Tensor, carrier: str, weight: bool, row_major: bool = False) -> Value:
        args = {"tensor": str(meta_of(plain)), "as": carrier, "bytes": plain.nbytes}
        with self.event("upload of a weight" if weight else "upload", TRANSFERS, "transfer", args):
            return super()._upload(plain, carrier, weight, row_major)

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
        said = _said(plan.op, args, kwargs)  # before the call, which may resize or replace its tensors
        outer, self._instead = self._instead, None
        start, before = perf_counter_ns(), self.session.recorder.begin()
        try:
            return run(plan, args, kwargs)
        except BaseException as error:
            said["raised"] = type(error).__name__
            raise
        finally:
            placement: Placement = plan.placement if self._instead is None else "host"
            said |= _because(plan.refusal if self._instead is None else self._instead)
            self._instead = outer
            said |= self.session.ended(before)
            self.session.range(str(plan.op), LANES[placement], placement, start, said)
            self._running += perf_counter_ns() - begun

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        self._instead = refusal
        return super()._run_on_host_instead(plan, refusal, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        begun = perf_counter_ns()
        try:
            with self.session.event(str(op), LANES["host"], "host", {"op": str(op), **_because(host.FOREIGN)}):
                return super()._pass_through(op, args, kwargs)
        finally:
            self._running += perf_counter_ns() - begun


def _said(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The op and its arguments by name, tensors as dtype and shape."""
    call = Call.bind(op, args, kwargs)
    return {"op": str(op), "arguments": {name: describe(value) for name, value in call.arguments.items()}}


def _because(refusal: Refusal | None) -> dict[str, str]:
    """The reason, as in the report."""
    if refusal is None:
        return {}
    said = {"condition": refusal.condition, "got": refusal.got, "reason": refusal.because or str(refusal)}
    return {name: text for name, text in said.items() if text}
