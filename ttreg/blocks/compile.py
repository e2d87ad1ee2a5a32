"""`torch.compile(model, backend="ttreg")`: runs the graphs that Dynamo captures op by op, in one session for all calls.

A graph takes and returns plain tensors. Weights, and the values that the backward pass needs, stay on the device
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
from .mode import enter_modes, in_block, open_session

_sessions: dict[Settings, Session] = {}
_lock = new_lock()


def compile_session(**options: Any) -> Session:
    """The session of the models that were compiled with `torch.compile(..., backend="ttreg", options=options)`.

    The first call of such a model opens it, or this function does. `torch._dynamo.reset()` or the exit closes it.
    Raises SettingsError for an unknown option or value, DeviceUnavailableError if the device cannot be opened.
    """
    return _session(Settings.resolve(options))


def backend(
    graph: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
    **_: Any,
) -> Callable[..., Any]:
    """The Dynamo backend: a function that runs `graph`, forward and backward, through the registry.

    `options` are the keywords of `device_mode`, whose defaults come from `TTREG_<KEYWORD>`. Raises SettingsError for an
    unknown one, and for any `mode`.
    """
    if mode is not None:
        raise SettingsError(f'torch.compile(backend="ttreg") has no mode {mode!r}: leave it out, and set options={{…}}')
    settings = Settings.resolve(options or {})
    whole = partial(_runner, settings=settings, returned=None)
    aot_autograd, _, _ = compiler()
    compiled = aot_autograd(
        fw_compiler=partial(_forward_runner, settings=settings),
        bw_compiler=whole,
        inference_compiler=whole,
        decompositions={entry.op: entry.decomposition for entry in registry if entry.decomposition is not None},
    )
    return compiled(graph, example_inputs)


def close_sessions() -> None:
    """Close the sessions of compiled models, and free their device memory."""
    with _lock:
        sessions = list(_sessions.values())
        _sessions.clear()
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


def _forward_runner(graph: fx.GraphModule, inputs: Sequence[Any], settings: Settings) -> Callable[..., Any]:
    """Run the forward half of a training graph. It returns the program's results, then the values for backward."""
    metadata = compiler()[2].get().fw_metadata
    assert metadata is not None
    return _runner(graph, inputs, settings, metadata.num_forward_returns)


def _runner(
    graph: fx.GraphModule, inputs: Sequence[Any], settings: Settings, returned: int | None
) -> Callable[..., Any]:
    """Run the graph in the session of the settings. Its first `returned` results go to the program; all if it is None.

    Inside a block, for example if `loss.backward()` is called there, the block handles the calls.
    """

    def run(*arguments: Any) -> Sequence[Any]:
        if in_block():
            return graph.forward(*arguments)
        with ExitStack() as stack:
            session = _session(settings)
            session.uploads.next_call()
            enter_modes(stack, session)
            results = graph.forward(*arguments)
        kept = results[len(results) if returned is None else returned :]
        return [*_plain(results[:returned], (*kept, *arguments)), *kept]

    return compiler()[1](run)


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
