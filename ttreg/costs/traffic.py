"""How many bytes a ttnn call reads from the device's memory and writes there, at least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

_TILE = 32


class Held(Protocol):
    """What is asked of a tensor here."""

    shape: tuple[int, ...]
    row_major: bool

    @property
    def held(self) -> int:
        """Bytes with padding."""
        ...

    @property
    def logical(self) -> int:
        """Bytes without."""
        ...


# These read no more of their first tensor than they give; the rest of their tensors say which part.
_PARTS = frozenset(("slice", "gather", "embedding", "split", "chunk"))
# The table comes second.
_TABLE_SECOND = frozenset(("embedding",))
# Of these a chip reads the second tensor, the kernel, as the matrix that it prepared, without padding of short rows.
_KERNEL_SECOND = frozenset(("conv1d", "conv2d"))
# These read nothing: their first tensor only says the shape.
_MADE = frozenset(("full_like", "zeros_like", "ones_like", "empty_like"))
# These write their second tensor into a part of their first.
_WRITES_PART = frozenset(("fill_cache", "update_cache", "slice_write", "paged_update_cache", "paged_fill_cache"))
_NOTHING = frozenset(("deallocate", "from_torch", "to_torch", "squeeze", "unsqueeze", "view", "experimental_view"))


def moved(
    name: str, args: tuple, kwargs: dict[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> tuple[int, int, int]:
    """Bytes that the call reads and that it writes, both with padding, and the sum of both without."""
    if not inputs or name in _NOTHING or (name == "reshape" and outputs and stays(inputs[0], outputs[0])):
        written = [] if inputs else list(outputs)
        return 0, sum(o.held for o in written), sum(o.logical for o in written)
    if name == "permute" and _is_identity([*args[1:2], *kwargs.values()]):
        return 0, 0, 0
    if name in _MADE:
        read, written = [], list(outputs)
    elif name in _WRITES_PART:
        read, written = list(inputs[1:]), list(inputs[1:2])
    elif name in _PARTS:
        table = 1 if name in _TABLE_SECOND and len(inputs) > 1 else 0
        rest = [o for n, o in enumerate(inputs) if n != table]
        whole, given = inputs[table], sum(o.held for o in outputs)
        smaller = [whole] if whole.held <= given else list(outputs)
        read, written = [*rest, *smaller], list(outputs)
    else:
        read, written = list(inputs), list(outputs)
    logical = sum(o.logical for o in (*read, *written))
    if name in _KERNEL_SECOND and len(inputs) > 1:
        image, kernel, *rest = inputs
        return image.held + kernel.logical + sum(o.held for o in rest), sum(o.held for o in written), logical
    return sum(o.held for o in read), sum(o.held for o in written), logical


def stays(before: Held, after: Held) -> bool:
    """Whether `ttnn.reshape` only gives the memory another shape: rows stay whole, and so do tiles."""
    if before.row_major != after.row_major:
        return False
    (rows, columns), (new_rows, new_columns) = (((1, 1, *x.shape)[-2:]) for x in (before, after))
    return columns == new_columns and (before.row_major or rows == new_rows or not (rows % _TILE or new_rows % _TILE))


def _is_identity(given: list[Any]) -> bool:
    orders = [list(order) for order in given if isinstance(order, (list, tuple))]
    return any(order == list(range(len(order))) for order in orders)
