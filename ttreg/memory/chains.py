"""Chains of views: makes a view's value from its parent's value, or from the whole storage in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from ..meta import Meta
from .padding import WASTEFUL, held_by
from .relayout import Route

if TYPE_CHECKING:
    from ..plan import Plan

# From this length on (a power of two), a chain is searched for an earlier tensor with the same metadata.
_LONG = 64

_TAKES_OUT = (torch.ops.aten.select.int, torch.ops.aten.unbind.int)


@dataclass(eq=False)
class ViewOf:
    """How to make a view's device value from its parent's: by the view op's lowering, unless that was refused."""

    plan: Plan
    parent: Meta
    above: ViewOf | None = field(repr=False)  # a chain may be long
    depth: int = 1

    def chain(self) -> Iterator[ViewOf]:
        """This view, then its parent view, and so on."""
        view: ViewOf | None = self
        while view is not None:
            yield view
            view = view.above

    @property
    def calls(self) -> int:
        """About how many ttnn calls the lowering makes for one output of the op."""
        if self.plan.outputs == [self.parent]:
            return 0
        return 2 if self.plan.op in _TAKES_OUT else 1


def view_by(plan: Plan, parent: Meta, above: ViewOf | None) -> ViewOf:
    """How to make the views that a plan gives of a tensor. `above` says how to make that tensor, if it is a view too.

    A program may repeat `x = x.t()` for ever. If a tensor in the chain has the metadata of an earlier one, it is made
    as that one is. The search runs only when the chain's length doubles, so a long chain costs no more for each view.
    """
    depth = 1 if above is None else above.depth + 1
    if above is not None and depth >= _LONG and depth & (depth - 1) == 0:
        for step in reversed(list(above.chain())):  # from the oldest
            if step.parent is parent:
                above = step.above
                depth = 1 if above is None else above.depth + 1
                break
    return ViewOf(plan, parent, above, depth)


def to_make(
    meta: Meta, view: ViewOf | None, at_hand: Callable[[Meta], bool], way_to: Callable[[Meta], Route | None]
) -> list[tuple[Meta, ViewOf]] | None:
    """The views to make, from this one up to the first whose parent is held or has a route from the whole storage.

    None if there is no such parent, or if the device cannot make one of the views.
    """
    steps: list[tuple[Meta, ViewOf]] = []
    for step in view.chain() if view is not None else ():
        if step.plan.refusal is not None:
            return None
        steps.append((meta, step))
        meta = step.parent
        if at_hand(meta) or way_to(meta) is not None:
            return steps
    return None


def is_better(way: Route, steps: list[tuple[Meta, ViewOf]], first: Route | None) -> bool:
    """Whether the direct route to a view is better than making the views above it, the topmost one by `first`.

    It is if it takes fewer ttnn calls, or if its values take far fewer bytes in tile layout.
    """
    made = [meta for _, view in steps for meta in view.plan.outputs]
    largest = max(first.largest if first is not None else 0, *(held_by(meta) for meta in made))
    if first is not None:
        made.append(steps[-1][1].parent)
    if way.largest != largest and max(way.largest, largest) > WASTEFUL * max(meta.nbytes for meta in made):
        return way.largest < largest
    calls = float(first.calls) if first is not None else 0.0
    for _, view in reversed(steps):
        calls = calls / len(view.plan.outputs) + view.calls  # the first output pays for the shared work
    alone = len(steps) == 1 and first is None  # then there is no value in between to save
    return way.calls < calls if alone else way.calls <= calls
