"""Warnings at each cause."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _warn_always():
    """PyTorch gives many warnings once per process, which would come on CPU and not again."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)
