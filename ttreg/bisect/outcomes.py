"""Runs one program several times from the same start, and compares what the runs return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch

from ..blocks.mode import enter_modes
from ..memory.tensor import DeviceTensor
from ..pytorch_private import tree_leaves
from ..registry import registry
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from .errors import Errors, errors

# Runs a program in a block, and returns its result and, if it failed, the error.
Runs = Callable[[AbstractContextManager[Any]], tuple[Any, str]]


@dataclass
class Start:
    """The state that one run may change for the next: the random number generator, and a model's buffers."""

    random: torch.Tensor
    buffers: list[tuple[torch.Tensor, torch.Tensor]]  # and their content

    def again(self) -> None:
        """Restore the state."""
        torch.random.set_rng_state(self.random)
        with torch.no_grad():
            for buffer, content in self.buffers:
                buffer.copy_(content)


def start_of(model: torch.nn.Module | None) -> Start:
    """The present state."""
    buffers = [] if model is None else [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    return Start(torch.random.get_rng_state(), buffers)


@contextmanager
def block(session: Session, kind: type[Dispatcher] | None = None) -> Iterator[Session]:
    """A block whose calls go to the session. The session is closed at its end."""
    registry.load()
    with ExitStack() as stack:
        stack.callback(session.close)
        enter_modes(stack, session, kind, eager=True)
        yield session


def returned_tensors(value: Any) -> list[torch.Tensor]:
    """The tensors in what a program returns, those in dataclasses included."""
    found: list[torch.Tensor] = []
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            found.append(leaf)
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += returned_tensors([getattr(leaf, field.name) for field in fields(leaf)])
    return [tensor for tensor in found if tensor.layout is torch.strided]


def worst_of(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> Errors | None:
    """The errors of the worst tensor; None if there are no tensors, or if shapes differ."""
    if not got or [tensor.shape for tensor in got] != [tensor.shape for tensor in wanted]:
        return None
    pairs = zip(map(plain, got), wanted, strict=True)
    return max((errors([g], [w], [g]) for g, w in pairs), key=lambda found: (found.non_finite, found.error))


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of a session that has ended, as a plain PyTorch tensor."""
    return tensor.host() if isinstance(tensor, DeviceTensor) else tensor.detach()
