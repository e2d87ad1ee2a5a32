"""The signature of a call: what a decision depends on, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..memory.tensor import DeviceTensor
from ..meta import PLAIN_KEYS, dispatch_keys, intern
from ..pytorch_private import deterministic

if TYPE_CHECKING:
    from .session import Session

_PLAIN_TYPES = frozenset((int, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format))
_OTHER_TYPES = frozenset((complex, torch.Generator, torch.Stream))

_WITHOUT_A_SHAPE = frozenset((torch.nn.UninitializedParameter, torch.nn.UninitializedBuffer))

# What `int32 + 2.5` has as its dtype, and whether PyTorch refuses an op that is not deterministic.
_default_dtype = torch.get_default_dtype
_deterministic = deterministic

# What follows the metadata of a `DeviceTensor`: objects that equal no argument (True would equal a following 1).
_WHOLE, _PART, _HOST = object(), object(), object()


def signature(session: Session, op: Any, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
    """A key that is equal for calls that are decided alike; None if an argument is symbolic or a foreign tensor."""
    key: list[Any] = [id(op), _default_dtype(), _deterministic()]  # an op's hash is slow; the plan keeps it alive
    if not _append(session, key, args):
        return None
    if kwargs:
        key.extend(kwargs)
        if not _append(session, key, kwargs.values()):
            return None
    return tuple(key)


def _append(session: Session, key: list[Any], values: Any) -> bool:
    # This runs for each argument of each call: the commonest kinds come first, and nothing is called that need not be.
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
        elif isinstance(value, torch.Tensor):
            if dispatch_keys(value).raw_repr() not in PLAIN_KEYS or kind in _WITHOUT_A_SHAPE:
                return False
            key.append(intern(value.dtype, value.shape, value.stride(), value.storage_offset()))
        elif kind is bool or kind is float:
            # 1, 1.0 and True are equal to a dict; so are ±0.0.
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
