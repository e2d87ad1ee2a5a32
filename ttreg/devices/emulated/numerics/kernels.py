"""All kernels of the table, and how they replace golden functions."""

from __future__ import annotations

from . import (
    approximations,  # noqa: F401
    attention,  # noqa: F401
    bfloat16,  # noqa: F401
    binary,  # noqa: F401
    convolutions,  # noqa: F401
    fused,  # noqa: F401
    matrix_products,  # noqa: F401
    powers,  # noqa: F401
    trigonometry,  # noqa: F401
    vector,  # noqa: F401
)

# isort: split
from . import not_a_number  # noqa: F401  # last, since it is put around what the others make
from .table import KERNELS, Values


def as_on_chip(name: str, golden: Values) -> Values:
    """The values of `ttnn.<name>` as the chip's kernel computes them; on torch tensors, as the golden function is."""
    for make in KERNELS.get(name, ()):
        golden = make(golden)
    return golden
