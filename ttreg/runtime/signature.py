"""The signature of a call: everything that its decision depends on, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..memory.tensor import DeviceTensor
from ..meta import PLAIN_KEYS, dispatch_keys
from ..pytorch_private import deterministic

if TYPE_CHECKING:
    from .session import Session

_PLAIN_TYPES = frozenset((int, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format))
_OTHER_TYPES = frozenset((complex, torch.Generator, torch.Stream))

_WITHOUT_A_SHAPE = frozenset((torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer))

# The default dtype decides the dtype of `int32 + 2.5`; the deterministic mode decides which ops PyTorch refuses.
_default_dtype = torch.get_default_dtype
_deterministic = deterministic

# One of these follows the metadata of a `DeviceTensor` in the key. They are plain objects, which equal no argument:
# True would equal an argument 1.
_WHOLE, _PART, _HOST = object(), object(), object()


def signature(session: Session, op: Any, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
    """A key that is equal for calls with the same decision; None if an argument is symbolic or a foreign tensor."""
    key: list[Any] = [id(op), _default_dtype(), _deterministic()]  # an op's hash is slow; the plan keeps it alive
    if not _append(session, key, args):
        return None
    if kwargs:
        key.extend(kwargs)
        if not _append(session, key, kwargs.values()):
            return None
    return tuple(key)


def _append(session: Session, key: list[Any], values: Any) -> bool:
    # This runs for each argument of each call. So the most common kinds come first, and calls are avoided.
    for value in values:
        kind = type(value)
        if kind is DeviceTensor:
            cell, meta = value._cell, value._meta
            key.append(meta)
            # A write needs to know whether the tensor is the whole of its storage.
            if (cell._home is session and cell.storage is None) or session.holds(value):
                key.append(_WHOLE if cell.nbytes == meta.nbytes else _PART)
            else:
                key.append(_HOST)
        elif kind in _PLAIN_TYPES:
            key.append(value)
        elif kind is list or kind is tuple:
            key.append(len(value))
            if not _append(session, key, value):
                return False
        elif isinstance(value, torch.Tensor):
            if dispatch_keys(value).raw_repr() not in PLAIN_KEYS or kind in _WITHOUT_A_SHAPE:
                return False
            # To look up the `Meta` would take longer. No other argument appends a `torch.Size`.
            key += (value.dtype, value.shape, value.stride(), value.storage_offset())
        elif kind is bool or kind is float:
            # As dict keys, 1, 1.0 and True are equal, and so are 0.0 and -0.0: the type and `hex` tell them apart.
            key.append((kind, value.hex() if kind is float else value))
        elif isinstance(value, (list, tuple)):
            key.append(len(value))
            if not _append(session, key, value):
                return False
        elif kind in _OTHER_TYPES:
            key.append((kind, value))
        else:
            return False
    return True
