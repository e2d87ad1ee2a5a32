"""The `tt` that lowerings are given: the device's ttnn API, and what a lowering needs to know of its session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .devices.base import Value

if TYPE_CHECKING:
    from .session import Session


class Api:
    """`tt.<name>` is ttnn's `<name>`, on whichever device the session has."""

    def __init__(self, session: Session):
        self._session = session

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._session.device.tt, name)
        setattr(self, name, attribute)  # found at once from now on
        return attribute

    def carrier(self, dtype: torch.dtype) -> Any:
        """The ttnn dtype in which the session carries a torch dtype."""
        return getattr(self, self._session.carriers[dtype])

    def prepared(self, value: Value, key: str, make: Callable[[], Any]) -> Any:
        """`make()`, which derives something from `value` alone; made once if that is an uploaded weight."""
        return self._session.uploads.prepared(value, key, make)

    def constant(self, tensor: torch.Tensor) -> Value:
        """The device value of a small tensor that a lowering made on the host; keep the tensor to upload it once."""
        return self._session.value(tensor)
