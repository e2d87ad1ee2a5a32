"""A factor whose matrices arrive transposed, as ttnn's products take them too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Turned:
    """The device value of a tensor with its last two dimensions swapped."""

    value: Any

    @property
    def dtype(self) -> Any:
        """The ttnn dtype of the value."""
        return self.value.dtype
