"""What a storage asks of the session that holds its values."""

from __future__ import annotations

from typing import Protocol

import torch

from ..carriers import Carriers
from ..devices.base import Device, Value
from ..meta import Meta
from .chains import ViewOf
from .relayout import Route


class Home(Protocol):
    """What a cell asks of the session whose device holds its values."""

    device: Device
    carriers: Carriers

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host."""
        ...

    def fetch(self, value: Value) -> torch.Tensor:
        """As `download`, for the session's own purposes: it is not counted."""
        ...

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """Make the device values of a view op's outputs from the value of its input."""
        ...

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> dict[Meta, Value]:
        """Make the device value of a view from the value of the whole storage, and of what else the route gives.

        Nothing if the host is to make it.
        """
        ...

    def put(self, whole: Value, root: Meta, part: Value, target: Meta) -> Value | None:
        """Put the value of a view into the value of the whole storage; None if the host is to do that."""
        ...
