"""A model of the chip's kernels, by kind of kernel, where their values differ from ttnn's golden functions."""

from __future__ import annotations

from .kernels import as_on_chip as as_on_chip
from .packing import packed as packed
