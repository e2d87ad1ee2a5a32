"""A dry run without values, except known and cheap ones: masks, positions, token ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode

from ..call import bind_arguments
from ..conditions import Refusal
from ..devices.base import Value
from ..fallback import host
from ..memory.chains import ViewOf
from ..memory.relayout import Route
from ..memory.tensor import DeviceTensor
from ..meta import Meta, intern
from ..plan import Plan
from ..pytorch_private import OpOverload, fakes, tree_leaves, tree_map_only
from ..runtime.fakes import run_on_fakes
from ..schema import is_composite, is_view, unread_arguments
from ..settings import Settings
from .dry import NO_VALUE
from .host_values import HostDispatcher, HostSession
from .unknown import Reads, Unknown, ValuesNeeded, WatchedCell

_FAKES = fakes()

aten = torch.ops.aten

_NEEDS_VALUES = (
    _FAKES.DataDependentOutputException,
    _FAKES.DynamicOutputShapeException,
    _FAKES.UnsupportedFakeTensorException,
    _FAKES.UnsupportedOperatorException,
)

# Ops whose results have a shape that depends on the values of one argument alone.
_SHAPE_FROM = {aten.index.Tensor: "indices", aten.masked_select.default: "mask"}


class ShapeDispatcher(HostDispatcher):
    """Dispatches the calls of a `ShapeSession`."""

    session: ShapeSession

    def _run_on_device(self, plan: Plan, args: tuple, kwargs: dict[str, Any], with_room: bool = True) -> Any:
        if plan.comes_down:  # the program's own memory
            return self._without_values(plan, args, kwargs)
        return super()._run_on_device(plan, args, kwargs, with_room)

    def _run_on_host(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        return self._without_values(plan, args, kwargs)

    def _run_on_host_instead(self, plan: Plan, refusal: Refusal, args: tuple, kwargs: dict[str, Any]) -> Any:
        plan.count -= 1
        self.session.fell_back(plan.op, refusal, plan.floating, str)
        return self._without_values(plan, args, kwargs)

    def _pass_through(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
        unknown = self.session.unknown.any_of(args, kwargs)
        result = super()._pass_through(op, args, kwargs)
        if unknown:
            self._forget(result)
        return result

    def _without_values(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The host's results for known arguments; for others, unknown tensors with the same metadata."""
        op, unknown = plan.op, self.session.unknown
        arguments = bind_arguments(op, args, kwargs)
        depends_on = arguments[_SHAPE_FROM[op]] if op in _SHAPE_FROM else arguments
        if not unknown.any_of([value for name, value in arguments.items() if name not in unread_arguments(op)]):
            return host.run(self.session, plan, args, kwargs)
        dynamic = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(op.tags)
        if plan.written or is_view(op) or is_composite(op) or not unknown.any_of(depends_on):
            if plan.written and dynamic:
                self.session.stop(f"{op} reads values")
        else:
            made, results = self._unknown_results(op, args, kwargs)
            if made:
                return results
        results = host.run(self.session, plan, args, kwargs)
        self._forget((results, plan.targets(args, kwargs)))
        return results

    def _unknown_results(self, op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> tuple[bool, Any]:
        """Tensors with the metadata of the op's results; False if PyTorch says that the call is wrong."""
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, DeviceTensor):
                tensor._cell.host_view(tensor._meta)  # where it is from then on
        try:
            results = run_on_fakes(op, args, kwargs)
        except _NEEDS_VALUES:
            self.session.stop(f"{op} reads values")
        except Exception:  # any error: the host raises it again, with PyTorch's own message
            return False, None
        return True, tree_map_only(torch.Tensor, self._like, results)

    def _like(self, fake: torch.Tensor) -> torch.Tensor:
        plain = torch.empty_strided(tuple(fake.shape), fake.stride(), dtype=fake.dtype).zero_()
        self.session.unknown.add(plain)
        return plain

    def _forget(self, results: Any) -> None:
        for tensor in tree_leaves(results):
            if isinstance(tensor, torch.Tensor):
                if tensor.layout is not torch.strided:
                    self.session.stop(f"a {str(tensor.layout).removeprefix('torch.')} tensor cannot be followed")
                self.session.unknown.add(tensor)


class ShapeSession(HostSession):
    """A session in which most tensors of the device have metadata only.

    What the host computes from known tensors is computed, and what the device would from known integers and bools, so
    that a program can look at its masks and positions. Where it looks at anything else, it ends with ValuesNeeded.
    Indices that are unknown, and int64 numbers that are, count as within bounds.
    """

    dispatcher = ShapeDispatcher

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.unknown = Unknown()
        self.stopped: ValuesNeeded | None = None

    def stop(self, what: str) -> NoReturn:
        """End the program, saying what needs a value; the first such place is kept as `stopped`."""
        needed = ValuesNeeded(what)
        self.stopped = self.stopped or needed
        raise needed

    def stand_in(self, meta: Meta) -> torch.Tensor:
        """An unknown tensor, on the device if the device can hold it."""
        if meta.dtype not in self.carriers or not meta.numel:
            plain = torch.zeros(max(meta.end // meta.dtype.itemsize, 1), dtype=meta.dtype)
            plain = plain.as_strided(meta.shape, meta.stride, meta.offset)
            self.unknown.add(plain)
            return plain
        root = meta if meta.covers(meta.nbytes) else intern(meta.dtype, (meta.end // meta.dtype.itemsize,), (1,))
        return DeviceTensor.make(WatchedCell(self, root, NO_VALUE), meta)

    def new_tensor(self, meta: Meta, value: Any, maker: Plan | None = None) -> torch.Tensor:
        """As `Session.new_tensor`, with a value that may not be known."""
        if value is None:
            return super().new_tensor(meta, None)
        return DeviceTensor.make(WatchedCell(self, meta, value), meta)

    def lower(self, plan: Plan, arguments: dict[str, Any]) -> list[Value]:
        """The host's results, if all inputs are known and none is floating-point; else as many unknown values."""
        if not plan.floating and not self.unknown.any_of(self.call):
            return super().lower(plan, arguments)
        if self.costs is not None:
            self.costs.lowered(plan, *self.call)
        return [NO_VALUE if meta.numel else None for meta in plan.outputs]

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """What the view's outputs show of its input, if that is known."""
        if parent is not NO_VALUE:
            return super().view_values(view, parent)
        if self.costs is not None:
            self.costs.viewed(view)
        return dict.fromkeys(view.plan.outputs, NO_VALUE)

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """What the storage shows under other metadata, if that is known."""
        if value is not NO_VALUE:
            return super().relaid(value, source, target, way)
        if self.costs is not None:
            self.costs.relaid(source, target, way)
        return dict.fromkeys(way.views or (target,), NO_VALUE)

    def put(self, whole: Value, root: Meta, part: Value, target: Meta) -> Value | None:
        """The storage's content with that of a view put into it, if both are known."""
        return NO_VALUE if whole is NO_VALUE or part is NO_VALUE else super().put(whole, root, part, target)

    def indices(
        self,
        argument: Any,
        ready: Callable[[Any], torch.Tensor | None],
        row_major: bool = False,
        carrier: str = "uint32",
    ) -> Any:
        """As `Session.indices`; unknown ones come to the host too, and count as within bounds."""
        for index in argument if isinstance(argument, (list, tuple)) else [argument]:
            if index is not None:
                self.read(index)
        return NO_VALUE if self.unknown.any_of(argument) else super().indices(argument, ready, row_major, carrier)

    def watch(self) -> TorchFunctionMode:
        """The mode that notices when the program reads values."""
        return Reads(self)
