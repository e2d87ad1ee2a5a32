"""What the device would have to do, from lowerings that run on tensors without values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..costs.calls import DeviceCall, device_call
from ..costs.work import Work
from ..devices import import_ttnn
from ..devices.base import Value
from ..exact.api import Exact
from ..exact.cost import TooDear
from ..memory.chains import ViewOf
from ..memory.relayout import Route
from ..meta import Meta
from ..plan import Plan
from ..runtime.rehearsal import Rehearsed
from ..runtime.session import Session


class Noting(Rehearsed):
    """The `tt` of a rehearsal that notes the ttnn calls, except those for what a session makes once and keeps."""

    def __init__(self, *settings: Any):
        super().__init__(*settings)
        self.noted: list[DeviceCall] = []
        self._keeping = 0

    def _weigh(self, name: str, kwargs: dict[str, Any], values: Any) -> None:
        args, _, made = values
        if not self._keeping:
            self.noted.append(device_call(name, args, kwargs, made))

    def to_layout(self, value: Value, layout: Any, dtype: Any = None) -> Value:
        """As `Api.to_layout`."""
        made = super().to_layout(value, layout, dtype)
        if made is not value:
            self._weigh("to_layout", {}, ((value, layout), (), made))
        return made

    def prepared(self, value: Value, key: Any, make: Callable[[], Any], beside: tuple = ()) -> Any:
        """As `Api.prepared`, of a weight."""
        return self._kept(make)

    def split(self, value: Value, key: Any, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        """As `Api.split`, of a weight."""
        return self._kept(make)

    def _kept(self, make: Callable[[], Any]) -> Any:
        self._keeping += 1
        try:
            return make()
        finally:
            self._keeping -= 1


class ExactNoting(Exact, Noting):
    """The same under float32="exact"."""

    def plainly(self, name: str) -> Any:
        """See `Exact.plainly`."""
        return self._weighed(name)


class Costs:
    """Counts in a session without a device what its plans and views would have a device do."""

    def __init__(self, session: Session):
        import_ttnn()  # whose golden functions say the shapes
        self._session = session
        self._calls: dict[Work, tuple[DeviceCall, ...] | None] = {}
        self.unknown: set[str] = set()  # ops whose lowerings need values

    def lowered(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> None:
        """Count a run of the plan's lowering."""
        self._ran(_work(plan), lambda tt: _run(plan, tt, tt.arguments(plan, args, kwargs)))

    def viewed(self, view: ViewOf) -> None:
        """Count a run of a view op's lowering."""
        plan, parent = view.plan, view.parent

        def run(tt: Noting) -> None:
            value = tt._without_values(parent.shape, self._session.carriers[parent.dtype])
            _run(plan, tt, plan.constants | {plan.slots[0].name: value})

        self._ran(_work(plan), run)

    def relaid(self, source: Meta, target: Meta, way: Route) -> None:
        """Count the calls that make a view from the whole storage."""

        def run(tt: Noting) -> None:
            carrier = self._session.carriers[source.dtype]
            value = tt._without_values(source.shape, carrier)
            for step in way.steps:
                shapes = [view.shape for view in way.views] if step is way.steps[-1] and way.views else [step.shape]
                made = [tt._without_values(shape, carrier) for shape in shapes]
                tt.noted.append(device_call(step.call, (value, *step.arguments), {}, made))
                value = made[0]

        self._ran(self._session.recorder.work("views", (source, target)), run)

    def _ran(self, work: Work, run: Callable[[Noting], None]) -> None:
        if work not in self._calls:
            self._calls[work] = self._rehearse(work.label, run)
        calls = self._calls[work]
        if calls is not None:
            work.runs += 1
            work.ran(tuple(call.name for call in calls), calls)

    def _rehearse(self, label: str, run: Callable[[Noting], None]) -> tuple[DeviceCall, ...] | None:
        session = self._session
        kind = ExactNoting if session.exact else Noting
        tt = kind(session.carriers, session.settings.arch, session.tt.attention)
        try:
            run(tt)
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, TooDear):
            self.unknown.add(label)  # ttnn's golden function reads values
            return None
        made = session.recorder
        for call in tt.noted:
            if made.programs.by(call, 0):
                made.new_programs.add(1, label, call)
        return tuple(tt.noted)


def _work(plan: Plan) -> Work:
    if plan.work is None:
        plan.work = Work(str(plan.op))
        plan.works.append(plan.work)
    return plan.work


def _run(plan: Plan, tt: Noting, arguments: dict[str, Any]) -> None:
    assert plan.entry is not None
    assert plan.entry.function is not None
    with torch.no_grad():
        made = plan.entry.function(tt, **arguments)
    del made  # outputs that are made when they are needed stay unmade
