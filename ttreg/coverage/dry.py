"""A session without a device: dispatch makes all of its decisions, and no lowering runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch.overrides import TorchFunctionMode

from ..blocks.mode import enter_modes
from ..devices.base import Device, Value
from ..pytorch_private import count_of_function_modes, without_function_mode
from ..registry import registry
from ..runtime.dispatch import Dispatcher
from ..runtime.session import Session
from ..settings import Settings

# A placeholder for values that no lowering uses. It holds zeros, so that an index is within bounds.
NO_VALUE: Value = torch.zeros(())

AnySession = TypeVar("AnySession", bound="DrySession")


class _Unmoved:
    """Replaces ttnn's conversions. Values stay as they are."""

    device = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda value, *_, **__: value


class Nowhere:
    """Replaces a device. Its values are plain tensors, and it needs no ttnn."""

    name, arch, ttnn_version, validated, chip_numerics = "none", "", "", False, True

    def __init__(self) -> None:
        self.lock, self.tt = threading.RLock(), _Unmoved()

    def upload(self, host: torch.Tensor, dtype: str, row_major: bool = False) -> Value:
        """See `Device.upload`."""
        return host.clone()

    def download(self, value: Value) -> torch.Tensor:
        """See `Device.download`."""
        return value


class DrySession(Session):
    """A session whose device computes nothing. Subclasses define what replaces its values."""

    dispatcher: ClassVar[type[Dispatcher]]

    def __init__(self, settings: Settings):
        # There is nothing to compare or trace, and fallbacks are what a dry run looks for.
        super().__init__(replace(settings, check=None, trace=None, on_fallback="allow"), cast(Device, Nowhere()))
        self.makes_room = self.may_wait = False  # no lowering runs

    def watch(self) -> TorchFunctionMode | None:
        """Modes that have to see the program's calls of Python functions."""
        return None

    def _uploaded(
        self,
        plain: torch.Tensor,
        dtype: torch.dtype,
        carrier: str,
        row_major: bool = False,
        shared: bool = True,
        bits: int = 0,
    ) -> Value:
        # No lowering runs. int64 values are still checked, because the device may not be able to carry them.
        return self._upload(plain, carrier, False) if dtype is plain.dtype is torch.int64 else NO_VALUE

    def on_demand(
        self, tensor: torch.Tensor, promote_to: torch.dtype | None, row_major: bool, exact: bool, bits: int
    ) -> Value:
        """See `Session.on_demand`."""
        return NO_VALUE


@contextmanager
def dry_run(session: AnySession) -> Iterator[AnySession]:
    """A block whose calls are decided as under `device_mode`, in the session."""
    registry.load()
    with ExitStack() as stack:
        stack.callback(session.close)
        enter_modes(stack, session, session.dispatcher, eager=True)
        watch = session.watch()
        if watch is not None:
            stack.enter_context(watch)
            stack.enter_context(_unnoticed())
        yield session


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Hide the watching modes from `torch.nn`, which does not run attention layers as one op under a function mode."""
    noticed = torch.overrides.has_torch_function

    def unnoticed(args: Iterable[Any]) -> bool:
        if count_of_function_modes() != 1:  # the program has one of its own
            return noticed(args)
        with without_function_mode():
            return noticed(args)

    torch.overrides.has_torch_function = unnoticed
    try:
        yield
    finally:
        torch.overrides.has_torch_function = noticed
