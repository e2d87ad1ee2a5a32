"""A recorded function as a trace of the device: its ttnn calls are captured once, and one call makes them all again.

A trace has fixed addresses. What it takes is copied into the buffers that it was captured with, and what it gives lies
in the same buffers each time. The rules of ttnn that this module keeps:

- All programs are in the program cache before the capture, and nothing is uploaded or read in it.
- Buffers that were made after the capture may lie where the trace has its intermediate results, so that executing it
  would overwrite them. Before each execution, such tensors of the session are brought to the host, and such uploads
  are dropped. Intermediate results that Python sees are kept, so that nothing comes to lie there.
- For the same reason there is one trace for each device, and none while other sessions use the device.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from ..costs.calls import is_tensor
from ..devices.base import RefusedByDevice
from ..forks import heirs
from ..on_demand import OnDemand
from ..runtime.session import Session
from .counts import Counts
from .numbers import LoweringStep
from .program import Run, compiled, needed, uses
from .results import Results
from .tape import Tape
from .words import Event, Ref

_MOST_CAPTURES = 8  # of one path: others take its place, or recordings are made that a trace could overwrite

_captured: weakref.WeakValueDictionary[int, Capture] = weakref.WeakValueDictionary()  # by the id of the device


class Untraced(Exception):
    """Why there is no trace."""


class Parts:
    """The events of a path: what brings the inputs, and then the ttnn calls."""

    def __init__(self, events: list[Event], at_the_end: Iterable[Ref], registers: int, draws: bool):
        if draws:
            raise Untraced("it draws random numbers")
        kept, wanted = needed(events, at_the_end), set(at_the_end)
        calls = [event for event in kept if event.on_device]
        made = {ref for event in calls for _, ref in event.results}
        before = [event for event in kept if not event.on_device]
        for read in (event for event in before if event.is_read):
            raise Untraced(f"it reads a value (at {read.where})")
        for event in before:
            if isinstance(event.function, LoweringStep):
                raise Untraced("a number that changes at each call, such as an optimizer's, goes to the device")
            if uses(event) & made:
                raise Untraced("the host computes with what the device has computed")
            if isinstance(event.function, type):
                raise Untraced("kernels are prepared anew at each call, since a weight changes")
        if not calls:
            raise Untraced("it makes no ttnn calls")
        if any(map(_uploads, calls)):
            raise Untraced("a weight is uploaded at each call, since it does not stay on the device")
        if not wanted <= made:
            raise Untraced("it gives what no ttnn call makes")
        self.outputs = sorted(wanted, key=_number)
        self.inputs = sorted(set().union(*map(uses, calls)) - made, key=_number)
        self.count = len(calls)
        self.bring: Run = compiled(before, self.inputs, registers).segments[0].run
        self.make: Run = compiled(calls, made.union(self.inputs), registers).segments[0].run
        self.registers = registers


class Capture:
    """The trace of one path, as long as it is the device's."""

    def __init__(self, session: Session, parts: Parts, counts: Counts):
        self._parts, self._counts = parts, counts
        self._session = weakref.ref(session)
        self._captures, self._refusal = 0, ""
        self._held: list[Any] = []  # all that the trace may use, and what was there before it
        self._safe: set[int] = set()
        self._buffers: list[Any] = []
        self._made: list[Any] = []
        self._trace: Any = None
        self._release: Any = None

    def run(self, session: Session, registers: list[Any], tensors: list[Any]) -> bool:
        """Execute the trace; it is captured first, if need be. False if the calls have to be made one by one."""
        try:
            if self._refusal:
                raise Untraced(self._refusal)
            if any(other.device is session.device and other is not session for other in _open_sessions()):
                raise Untraced("another session uses the chip, whose tensors a trace could overwrite")
            parts = self._parts
            parts.bring(registers, tensors)
            if self._release is None or not self._release.alive:
                self._capture(session, [registers[ref.number] for ref in parts.inputs])
            self._clear(session)  # before the inputs are copied, since results may share their buffers
            tt = session.device.tt
            for ref, buffer in zip(parts.inputs, self._buffers, strict=True):
                tt.copy(registers[ref.number], buffer)
                registers[ref.number] = None
            tt.execute_trace(tt.device, self._trace, cq_id=0, blocking=False)
        except (Untraced, RefusedByDevice, RuntimeError, TypeError) as reason:  # the last two are ttnn's own
            why = str(reason).partition("\n")[0]
            if not isinstance(reason, Untraced):
                self._refusal = why
            self.release()
            self._counts.untraced_for(why)
            registers[:] = [None] * len(registers)
            return False
        for ref in self._parts.outputs:
            registers[ref.number] = self._made[ref.number]
        self._counts.traced += 1
        return True

    def release(self) -> None:
        """Let go of the trace; the next run captures it again."""
        if self._release is not None:
            self._release()
        self._held, self._buffers, self._made, self._safe, self._release = [], [], [], set(), None

    def _capture(self, session: Session, inputs: list[Any]) -> None:
        tt, parts, device = session.device.tt, self._parts, session.device
        other = _captured.get(id(device))
        if other is not None and other is not self and other._release is not None and other._release.alive:
            owner = other._session()
            if owner is not None and not owner.closed:
                raise Untraced("the device has a trace of another recording, which this one could overwrite")
            other.release()
        if self._captures == _MOST_CAPTURES:
            raise Untraced(f"it was captured {_MOST_CAPTURES} times, and others always took its place")
        if not all(map(is_tensor, inputs)):
            raise Untraced("a ttnn call takes what is no tensor of the device")
        self._captures += 1
        self._buffers = [tt.clone(value) for value in inputs]
        for number, value in enumerate(inputs):
            tt.copy(value, self._buffers[number])  # so that its program is in the cache
        parts.make(self._registers(), [])
        self._note(session)
        programs = getattr(device, "programs", None)
        known = programs.count() if programs is not None else 0
        self._made = self._registers()
        self._trace = tt.begin_trace_capture(tt.device, cq_id=0)
        self._release = weakref.finalize(self, _release, device, self._trace)
        self._release.atexit = False
        try:
            parts.make(self._made, [])
        finally:
            tt.end_trace_capture(tt.device, self._trace, cq_id=0)
        if programs is not None and programs.count() != known:
            raise Untraced("a program was not in the program cache, although its calls had been made before")
        _captured[id(device)] = self

    def _registers(self) -> list[Any]:
        registers: list[Any] = [None] * self._parts.registers
        for ref, buffer in zip(self._parts.inputs, self._buffers, strict=True):
            registers[ref.number] = buffer
        return registers

    def _note(self, session: Session) -> None:
        """Note what lies on the device before the capture."""
        _forget_uploads(session)
        self._held = [value for cell in session.live() for value in cell.values.values()]
        self._safe = set(map(id, self._held))

    def _clear(self, session: Session) -> None:
        """Bring to the host, or drop, what may lie where the trace writes."""
        for cell in session.live():
            if cell.storage is None or cell.values:
                at_rest = cell.lazy is None and cell.longer is None and cell.before is None
                if not at_rest or not self._safe.issuperset(map(id, cell.values.values())):
                    cell.host_view(cell.root)
                    cell.host_written()  # as if: the device's values are dropped
        _forget_uploads(session)


def capture_of(session: Session, tape: Tape, results: Results, counts: Counts) -> Capture | None:
    """The trace that a recorded call can be; None if it can be none, for a reason that is counted."""
    try:
        return Capture(session, Parts(tape.events, results.refs, tape.registers, tape.draws), counts)
    except Untraced as reason:
        counts.untraced_for(str(reason))
        return None


def why_never(session: Session) -> str:
    """Why a session's device has no traces; empty if it may have one."""
    device = session.device
    if device.name == "mock" or device.validated:
        return "on ttnn's mocked chips, the first call of a capture crashes the process"
    if device.name != "ttnn":
        return f"the {device.name} device has no traces"
    if not session.settings.trace_region_size:
        return "the chip is open without DRAM for traces: give device_mode a trace_region_size, in bytes"
    return ""


def release_of(session: Session) -> None:
    """Let go of the trace of a session's device, before something is made that it could overwrite."""
    capture = _captured.get(id(session.device))
    if capture is not None:
        capture.release()


def _open_sessions() -> list[Session]:
    return [heir for heir in heirs() if isinstance(heir, Session) and not heir.closed and not heir.inherited]


def _forget_uploads(session: Session) -> None:
    session.uploads.clear()
    session.tt.let_go()


def _release(device: Any, trace: Any) -> None:
    with device.lock:
        device.tt.release_trace(device.tt.device, trace)


def _uploads(event: Event) -> bool:
    def found(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(found, value))
        return isinstance(value, OnDemand)

    return found(event.args) or found(tuple(event.kwargs.values()))


def _number(ref: Ref) -> int:
    return ref.number
