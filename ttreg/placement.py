"""The places where a call can run."""

from __future__ import annotations

from typing import Literal

Placement = Literal["device", "host", "local", "decomposed", "view"]
