"""`torch.compile(model, backend="ttreg")`: runs the graphs that Dynamo captures, in one session for all calls.

The first call of a graph runs op by op and is recorded; the next ones are replayed. A graph takes and returns plain
tensors. Weights, and the values that the backward pass needs, stay on the device
between calls. Inside a `device_mode` block nothing is captured: the block runs the code op by op as it is.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import fx

from ..errors import SettingsError
from ..forks import new_lock
from ..memory.cell import Cell
from ..memory.tensor import DeviceTensor
from ..pytorch_private import compiler
from ..registry import registry
from ..runtime.session import Session
from ..settings import Settings
from .dispatching import in_block
from .mode import enter_modes, open_session

_sessions: dict[Settings, Session] = {}
_lock = new_lock()


def compile_session(**options: Any) -> Session:
    """The session of the models that were compiled with `torch.compile(..., backend="ttreg", options=options)`.

    The first call of such a model opens it, or this function does. `torch._dynamo.reset()` or the exit closes it.
    Raises SettingsError for an unknown option or value, DeviceUnavailableError if the device cannot be opened.
    """
    return _session(_resolved(options)[0])


def backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
    **_: Any,
) -> Callable[..., Any]:
    """The Dynamo backend: a function that runs `graph`, forward and backward, through the registry.

    `options` are the keywords of `device_mode`, whose defaults come from `TTREG_<KEYWORD>`, and `record`: with False,
    every call runs op by op. `mode="reduce-overhead"` asks for traces of the device, as `Session.record` has them.
    Raises SettingsError for an unknown option, and for any other mode.
    """
    if mode not in (None, "reduce-overhead"):
        raise SettingsError(
            f'torch.compile(backend="ttreg") has no mode {mode!r}: leave it out, or take "reduce-overhead"'
        )
    settings, record = _resolved(options or {})
    make = partial(_runner, settings=settings, record=record, trace=mode is not None)
    aot_autograd, _, _ = compiler()
    compiled = aot_autograd(
        fw_compiler=partial(make, part="forward"),
        bw_compiler=partial(make, part="backward"),
        inference_compiler=partial(make, part="inference"),
        decompositions={entry.op: entry.decomposition for entry in registry if entry.decomposition is not None},
    )
    return compiled(graph, example_inputs)


def close_sessions() -> None:
    """Close the sessions of compiled models, and free their device memory."""
    with _lock:
        sessions = list(_sessions.values())
        _sessions.clear()
    if sessions:
        from .graphs import forget_recordings

        forget_recordings()
    for session in sessions:
        session.close()


os.register_at_fork(after_in_child=_sessions.clear)  # a forked process opens its own

backend.reset = close_sessions  # type: ignore[attr-defined]  # torch._dynamo.reset() calls it
atexit.register(close_sessions)


def _session(settings: Settings) -> Session:
    with _lock:
        if settings not in _sessions:
            # Between calls the program can write to a model's weights unseen (`p.data.mul_(2)`).
            _sessions[settings] = open_session(settings, sees_all_writes=False)
        return _sessions[settings]


def _resolved(options: Mapping[str, Any]) -> tuple[Settings, bool]:
    """The settings that the options name, and whether graphs are recorded."""
    record = options.get("record", True)
    if not isinstance(record, bool):
        raise SettingsError(f"record is {record!r}; expected True or False")
    return Settings.resolve({name: value for name, value in options.items() if name != "record"}), record


def _runner(
    graph: fx.GraphModule, inputs: Sequence[Any], settings: Settings, record: bool, trace: bool, part: str
) -> Callable[..., Any]:
    """Run a graph, or a part of one, in the session of the settings.

    The forward half of a training graph gives the program's results, then the values for backward. Inside a block, for
    example if `loss.backward()` is called there, the block handles the calls.
    """
    returned: int | None = None  # the number of results that go to the program; None for all
    if part == "forward":
        metadata = compiler()[2].get().fw_metadata
        assert metadata is not None
        returned = metadata.num_forward_returns
    step: Callable[[Session, Sequence[Any]], Sequence[Any]]
    if record:
        from .graphs import RecordedGraph

        step = RecordedGraph(graph, inputs, part, trace)
    else:
        step = partial(_op_by_op, graph)

    def run(*arguments: Any) -> Sequence[Any]:
        if in_block():
            return graph.forward(*arguments)
        with ExitStack() as stack:
            session = _session(settings)
            session.uploads.next_call()
            enter_modes(stack, session, replaces=False)
            results = step(session, arguments)
        kept = results[len(results) if returned is None else returned :]
        return [*_plain(results[:returned], (*kept, *arguments)), *kept]

    return compiler()[1](run)


def _op_by_op(graph: fx.GraphModule, session: Session, arguments: Sequence[Any]) -> Sequence[Any]:
    return graph.forward(*arguments)


def _plain(results: Sequence[Any], kept: Sequence[Any]) -> list[Any]:
    """The results as plain tensors. They share no memory with `kept`, since the program may write to them."""
    in_use = {tensor._cell for tensor in kept if isinstance(tensor, DeviceTensor)}
    copies: dict[Cell, torch.UntypedStorage] = {}

    def plain(result: Any) -> Any:
        if not isinstance(result, DeviceTensor):
            return result
        cell = result._cell
        if cell not in in_use:
            return result.host()
        if cell not in copies:
            copies[cell] = cell.host_view(cell.root).untyped_storage().clone()
        return result._meta.on_storage(copies[cell])

    return [plain(result) for result in results]
