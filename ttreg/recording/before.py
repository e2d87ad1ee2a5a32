"""What a recorded call may change without a trace: versions of tensors, gradients, and random generators."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from .externals import Externals


class Before:
    """What a call may change without a trace, as it was before the call."""

    def __init__(self, externals: Externals):
        self.python, self.state = python_draws(), torch.get_rng_state()
        tensors = [external for external in externals.all if external.owner is None]
        self.gradients = [
            (external, external.tensor.grad)
            for external in tensors
            if external.tensor.requires_grad and external.tensor.is_leaf
        ]
        plain = [external.tensor for external in tensors if not external.tensor.is_inference()]
        self._versions = [(tensor, tensor._version) for tensor in plain]

    def written(self) -> set[int]:
        """The ids of the tensors that were written since."""
        return {id(tensor) for tensor, version in self._versions if tensor._version != version}


def python_draws() -> tuple[Any, ...]:
    """The state of Python's and of NumPy's global random generator."""
    state: Any = np.random.get_state()
    return random.getstate(), bytes(state[1]), state[2]
