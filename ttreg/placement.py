"""Where a call can go."""

from __future__ import annotations

from typing import Literal

Placement = Literal["device", "host", "local", "decomposed", "view"]
