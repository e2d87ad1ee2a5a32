"""Refuses calls that need too much DRAM, from the tiled size of their own tensors and of the lowering's values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import torch

from ..carriers import Carriers
from ..conditions import Refusal
from ..devices import references
from ..devices.base import Value
from ..exact.api import Exact
from ..exact.cost import MOST_CALLS, TOO_MANY_CALLS, TooDear
from ..images import Image, unfolded
from ..memory.padding import refusal_of, row_major, tiled, too_large
from ..memory.tensor import metadata_of
from ..meta import Meta
from ..plan import Plan, Slot

if TYPE_CHECKING:
    from .session import Session

# A call with fewer elements than this always fits: in the worst case each element takes a whole tile.
_FEW_ELEMENTS = 2**17

# ttnn functions that first permute the dimension they work along to the front.
_TURNED = ("cumsum", "cumprod")


def refuse_too_large(session: Session, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> Refusal | None:
    """The refusal of a call that would take too much of the DRAM, itself or in one of its lowering's ttnn calls."""
    arch = session.device.arch or session.settings.arch
    given = [(slot, metadata_of(t)) for slot in plan.slots for t in slot.tensors(args, kwargs)]
    metas = [meta for _, meta in given] + plan.outputs
    few = sum(meta.numel for meta in metas) < _FEW_ELEMENTS
    if few and not session.exact:
        return None
    arrived = [_arrived(slot, meta) for slot, meta in given]
    held = arrived + [tiled(meta.shape, meta.dtype) for meta in plan.outputs]
    nbytes, refusal = sum(meta.nbytes for meta in metas), None
    if not few and too_large(sum(held), nbytes, arch):
        refusal = refusal_of([str(meta) for meta in metas], held)
    if refusal is not None and not any(slot.arrival.image for slot in plan.slots):
        return refusal
    rehearsed = (ExactRehearsed if session.exact else Rehearsed)(session.carriers, arch, session.tt.attention)
    try:
        assert plan.entry is not None
        assert plan.entry.function is not None
        made = plan.entry.function(rehearsed, **rehearsed.arguments(plan, args, kwargs))
        for later in made if isinstance(made, (list, tuple)) else ():
            if callable(later):
                later()
    except (_TooLarge, TooDear) as found:
        return found.refusal
    except Exception:  # the emulation reads values, or the lowering is at fault: the real run shows that
        return refusal
    if refusal is not None:  # but what comes of images may be held as an image, which takes fewer tiles
        held = arrived + [tiled(value.shape, value.data.dtype) for value in _tensors(made)]
        if too_large(sum(held), nbytes, arch):
            return refusal
    if session.exact and rehearsed.calls > MOST_CALLS:
        return TOO_MANY_CALLS.with_got(str(rehearsed.calls))
    return None


def _arrived(slot: Slot, meta: Meta) -> int:
    """The bytes that an argument takes as it arrives."""
    shape = unfolded(meta.shape) if slot.arrival.image else meta.shape
    return (row_major if slot.arrival.row_major else tiled)(shape, meta.dtype)


def refuse_views(session: Session, metas: list[Meta]) -> Refusal | None:
    """The refusal of views that would take too much of the DRAM in tiles."""
    arch = session.device.arch or session.settings.arch
    for meta in metas:
        if too_large(tiled(meta.shape, meta.dtype), meta.nbytes, arch):
            return refusal_of([str(meta)], [tiled(meta.shape, meta.dtype)])
    return None


class _TooLarge(Exception):
    """Ends a rehearsal at a ttnn call that takes too much DRAM."""

    def __init__(self, refusal: Refusal):
        super().__init__(str(refusal))
        self.refusal = refusal


class Rehearsed:
    """The `tt` of a rehearsal: runs ttnn's functions on tensors without values, until one is too large."""

    device = None

    def __init__(self, carriers: Carriers, arch: str, attention: str):
        self._carriers, self._arch, self.attention = carriers, arch, attention
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        attribute = self._weighed(name)
        if callable(attribute) and not isinstance(attribute, type):
            setattr(self, name, attribute)
        return attribute

    def _weighed(self, name: str) -> Any:
        attribute = getattr(references(), name)
        if isinstance(attribute, type) or not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            made = attribute(*args, **kwargs)
            self.calls += 1
            self._weigh(name, kwargs, (args, tuple(kwargs.values()), made))
            return made

        return call

    def _weigh(self, name: str, kwargs: dict[str, Any], values: Any) -> None:
        shapes = [(list(v.shape), v.data.dtype, v.layout) for v in _tensors(values)]
        held = [(row_major if layout == self.ROW_MAJOR_LAYOUT else tiled)(s, dtype) for s, dtype, layout in shapes]
        unpadded = sum(prod(shape) * dtype.itemsize for shape, dtype, _ in shapes)
        names = [f"{shape} in ttnn.{name}" for shape, _, _ in shapes]
        if name in _TURNED:
            shape, dtype, _ = shapes[0]
            size = shape.pop(kwargs["dim"])
            names.append(f"{[size, *shape]} inside of ttnn.{name}")
            held.append(tiled([size, *(1, 1, *shape)[-max(len(shape), 2) :]], dtype))
        if too_large(sum(held), unpadded, self._arch):
            raise _TooLarge(refusal_of(names, held))

    def arguments(self, plan: Plan, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a plan's lowering."""
        return plan.constants | {slot.name: self._given(slot, slot.of(args, kwargs)) for slot in plan.slots}

    def _given(self, slot: Slot, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return [self._given(slot, item) for item in argument]
        if argument is None or not argument.numel():
            return None
        carrier = slot.arrival.carrier(self._carriers, argument.dtype)
        if slot.arrival.image:
            shape = tuple(argument.shape)
            return Image(self._without_values(unfolded(shape), carrier), shape, folded=False)
        return self._without_values(tuple(argument.shape), carrier, slot.arrival.row_major)

    def _without_values(self, shape: tuple[int, ...], carrier: str, rows: bool = False) -> Value:
        dtype, layout = getattr(self, carrier), self.ROW_MAJOR_LAYOUT if rows else self.TILE_LAYOUT
        from ..devices.emulated.tensor import EmulatedTensor, stored  # after `references`, which bring ttnn silently

        return EmulatedTensor(stored(torch.empty(shape, device="meta"), dtype), dtype, layout)

    # The rest of what `Api` offers to lowerings; see api.py.
    def to_layout(self, value: Value, layout: Any, dtype: Any = None) -> Value:
        """As `Api.to_layout`."""
        given = {} if dtype is None else {"dtype": dtype}
        return value if value.layout == layout and not given else references().to_layout(value, layout, **given)

    def carrier(self, dtype: torch.dtype) -> Any:
        """As `Api.carrier`."""
        return getattr(self, self._carriers[dtype])

    def once(self, make: Callable[[Any], Any]) -> Any:
        """As `Api.once`."""
        return make(self)

    def prepared(self, value: Value, key: Any, make: Callable[[], Any], beside: tuple = ()) -> Any:
        """As `Api.prepared`."""
        return make()

    def split(self, value: Value, key: Any, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        """As `Api.split`."""
        return make()

    def constant(self, tensor: torch.Tensor) -> Value:
        """As `Api.constant`."""
        return self._without_values(tuple(tensor.shape), self._carriers[tensor.dtype])


class ExactRehearsed(Exact, Rehearsed):
    """The same under float32="exact"."""

    def plainly(self, name: str) -> Any:
        """See `Exact.plainly`."""
        return self._weighed(name)


def _tensors(value: Any) -> Iterator[Value]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Image):
        yield value.value
    elif hasattr(value, "twin"):  # an EmulatedTensor
        yield value
