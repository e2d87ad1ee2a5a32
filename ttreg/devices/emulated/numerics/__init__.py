"""What the chip's kernels were seen to compute where that differs from ttnn's golden functions, by kind of kernel."""

from __future__ import annotations

from .kernels import as_on_chip as as_on_chip
from .packing import packed as packed
