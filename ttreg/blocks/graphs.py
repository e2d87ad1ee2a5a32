"""The graphs of compiled models, recorded at their first calls and replayed afterwards.

Dynamo has checked what the program around a graph depends on, so of its guards none is checked twice. A recording adds
what they leave open: sizes that are symbolic in the graph, which arguments share memory, and the content of weights.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import fx

from ..forks import new_lock
from ..recording.recorded import Recorded
from ..runtime.session import Session
from .mode import enter_modes

_MOST_MODELS = 16  # layers that Dynamo gives the same graph, of which each has recordings with its own weights

_enter = partial(enter_modes, replaces=False)
_numbers = itertools.count(1)
_graphs: weakref.WeakSet[RecordedGraph] = weakref.WeakSet()


class RecordedGraph:
    """A graph that runs in whichever session is open. Only its last session has recordings of it."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[Any], part: str, trace: bool):
        self._graph, self._name = graph, f"graph {next(_numbers)} of torch.compile, {part}"
        symbolic = any(map(_is_symbolic, inputs))
        self._keeps_weights = part != "backward"  # there they come as views, and change after each step
        self._options = {"evicts": not symbolic, "trace": trace}
        self._lock = new_lock()
        self._session: weakref.ref[Session] | None = None
        self._steps: OrderedDict[tuple[int, ...], Recorded] = OrderedDict()
        _graphs.add(self)

    def __call__(self, session: Session, arguments: Sequence[Any]) -> Sequence[Any]:
        """The results of the graph in an open session."""
        places: set[int] = set()
        if self._keeps_weights:
            places = {n for n, value in enumerate(arguments) if type(value) is torch.nn.Parameter}
        step = self._step(session, {place: arguments[place] for place in sorted(places)})
        return step(*(value for place, value in enumerate(arguments) if place not in places))

    def forget(self) -> None:
        """Drop the recordings."""
        with self._lock:
            self._session = None
            self._steps.clear()

    def _step(self, session: Session, weights: dict[int, torch.Tensor]) -> Recorded:
        """The graph with these weights, which does not take them as arguments."""
        key = tuple(map(id, weights.values()))
        with self._lock:
            if self._session is None or self._session() is not session:
                self._session = weakref.ref(session)
                self._steps.clear()
            step = self._steps.get(key)
            if step is None:
                function = _WithWeights(self._graph, weights, self._name)
                step = Recorded(session, function, _enter, reached=function.reached(), **self._options)
                self._steps[key] = step
                if len(self._steps) > _MOST_MODELS:
                    self._steps.popitem(last=False)
            else:
                self._steps.move_to_end(key)
            return step


def forget_recordings() -> None:
    """Drop the recordings of all graphs, as their sessions end."""
    for graph in list(_graphs):
        graph.forget()


class _WithWeights:
    """A graph with some of its arguments."""

    def __init__(self, graph: fx.GraphModule, weights: dict[int, torch.Tensor], name: str):
        self.weights, self.__qualname__ = weights, name
        self._graph = graph

    def reached(self) -> tuple[tuple[str, Any], ...]:
        """The tensors that the graph uses besides its other arguments."""
        constants = {**dict(self._graph.named_parameters()), **dict(self._graph.named_buffers())}
        constants |= {name: value for name, value in vars(self._graph).items() if isinstance(value, torch.Tensor)}
        return (*((f"argument {n}", w) for n, w in self.weights.items()), *constants.items())

    def __call__(self, *rest: Any) -> Sequence[Any]:
        given, weights = iter(rest), self.weights
        count = len(rest) + len(weights)
        return self._graph.forward(*(weights[n] if n in weights else next(given) for n in range(count)))


def _is_symbolic(value: Any) -> bool:
    sizes = value.shape if isinstance(value, torch.Tensor) else (value,)
    return any(isinstance(size, (torch.SymInt, torch.SymFloat, torch.SymBool)) for size in sizes)
