"""A dry run with values: the host computes what the device would."""

from __future__ import annotations

from typing import Any

import torch

from ..checking.reproduce import spread
from ..devices.base import Value
from ..memory.chains import ViewOf
from ..memory.relayout import Route
from ..meta import Meta
from ..plan import Plan
from ..pytorch_private import tree_leaves, tree_map_only
from ..runtime.dispatch import Dispatcher
from .cost import Costs
from .dry import DrySession


class HostDispatcher(Dispatcher):
    """Dispatches the calls of a `HostSession`."""

    session: HostSession

    def _run_on_device(self, plan: Plan, args: tuple, kwargs: dict[str, Any], with_room: bool = True) -> Any:
        self.session.call = args, kwargs
        return super()._run_on_device(plan, args, kwargs, with_room)


class HostSession(DrySession):
    """A session whose device tensors have values from PyTorch's own kernels."""

    dispatcher = HostDispatcher
    call: tuple[tuple, dict[str, Any]] = (), {}  # the one at work
    costs: Costs | None = None  # where they are asked for

    def lower(self, plan: Plan, arguments: dict[str, Any]) -> list[Value]:
        """What the host gives for the call."""
        args, kwargs = self.call
        if self.costs is not None:
            self.costs.lowered(plan, args, kwargs)
        written = {id(tensor) for tensor in plan.targets(args, kwargs)}

        def plain(tensor: torch.Tensor) -> torch.Tensor:
            seen = self.peek(tensor)
            return seen.clone() if id(tensor) in written else seen

        results = plan.op(*tree_map_only(torch.Tensor, plain, args), **tree_map_only(torch.Tensor, plain, kwargs))
        made = [result for result in tree_leaves(results) if isinstance(result, torch.Tensor)]
        # Copies, because a result may share memory with an argument that is written to later.
        return [
            r.clone().reshape(meta.shape) if meta.numel else None for r, meta in zip(made, plan.outputs, strict=True)
        ]

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """What the view's outputs show of its input."""
        if self.costs is not None:
            self.costs.viewed(view)
        return {meta: _shown(parent, view.parent, meta) for meta in view.plan.outputs}

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """What the storage shows under other metadata."""
        if self.costs is not None:
            self.costs.relaid(source, target, way)
        return {meta: _shown(value, source, meta) for meta in way.views or (target,)}

    def put(self, whole: Value, root: Meta, part: Value, target: Meta) -> Value | None:
        """The storage's content with that of a view put into it."""
        storage = spread(whole.clone(), root).untyped_storage()
        target.on_storage(storage).copy_(part)
        return root.on_storage(storage).clone()


def _shown(value: torch.Tensor, source: Meta, target: Meta) -> torch.Tensor:
    return target.on_storage(spread(value, source).untyped_storage()).clone()
