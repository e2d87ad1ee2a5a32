"""What a replay does besides ttnn calls: it reads tensors from outside, moves data, and runs ops on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..fallback import host
from ..memory.pieces import in_one_piece
from ..memory.tensor import DeviceTensor
from ..memory.watch import storage_of
from ..meta import Meta, is_plain, meta_of
from ..plan import Plan
from ..pytorch_private import tree_leaves
from ..runtime.rounding import rounded
from ..runtime.values import Values
from .words import Miss


def loaded(tensor: Any, whole: Any) -> Any:
    """The value of the whole storage of a tensor of the device."""
    cell = tensor._cell
    value = cell.values.get(whole)
    if value is None:
        in_one_piece(cell)
        value = cell.values.get(whole)
        if value is None or cell.whole is not whole:
            raise Miss("a tensor is held in another form than at the recording")
    return value


def storage_held(tensor: torch.Tensor) -> torch.UntypedStorage:
    """The host's storage of a tensor."""
    if isinstance(tensor, DeviceTensor):
        storage = tensor._cell.storage
        if storage is None:
            raise Miss("a tensor was on the host at the recording, and is not now")
        return storage
    return storage_of(tensor)


def cloned_storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    """A copy of the host's storage of a tensor."""
    return storage_held(tensor).clone()


def fresh(kept: torch.Tensor) -> torch.UntypedStorage:
    """A storage with the content of a tensor that the function makes from numbers."""
    return kept.untyped_storage().clone()


def memory(session: Any, value: Any, root: Meta, image: bool, nbytes: int) -> torch.UntypedStorage:
    """A storage of the host with a downloaded value."""
    storage = torch.UntypedStorage(nbytes)
    whole = session.download(value)
    root.on_storage(storage).copy_(whole.view(root.shape) if image else whole)
    return storage


def same(one: Any, other: Any) -> None:
    """Hold that two tensors hold one value, as at the recording."""
    if one is not other:
        raise Miss("two tensors that held one value at the recording hold two")


def kept_value(session: Values, plain: torch.Tensor, *form: Any) -> Any:
    """The uploaded value of a tensor of the host, which the session keeps as it does outside of recordings."""
    return Values._uploaded(session, plain, *form)


def new_value(
    session: Values, plain: torch.Tensor, dtype: torch.dtype, carrier: str, row_major: bool, weight: bool, bits: int
) -> Any:
    """A new upload of a tensor of the host, which nothing else uses."""
    ready = plain if plain.dtype == dtype else plain.to(dtype)
    ready = rounded(ready, bits) if bits else ready
    return Values._upload(session, ready, carrier, weight, row_major)


def upload_step(session: Values) -> Callable[..., Any]:
    """A step that uploads a tensor, or finds an equal upload."""

    def upload(plain: torch.Tensor, *form: Any) -> Any:
        return Values._uploaded(session, plain, *form)

    return upload


def fresh_upload_step(session: Values) -> Callable[..., Any]:
    """A step that uploads a tensor that nobody else has, so that the upload need not be kept."""

    def upload(plain: torch.Tensor, dtype: torch.dtype, carrier: str, row_major: bool, shared: bool, bits: int) -> Any:
        return new_value(session, plain, dtype, carrier, row_major, False, bits)

    return upload


def indices_step(session: Values, ready: Any, row_major: bool, carrier: str) -> Callable[..., Any]:
    """A step that checks indices, and uploads what is made of them."""

    def indices(argument: Any) -> Any:
        value = Values.indices(session, argument, ready, row_major, carrier)
        if value is None:
            raise Miss("an index is out of bounds")
        return value

    return indices


def host_step(session: Any, plan: Plan, metas: list[Meta | None]) -> Callable[..., Any]:
    """A step that runs an op on the host; its result is the list of new storages."""
    alone = host.only_calls_the_op(plan)  # the tensors are the replay's own, or are only read
    makes_none = all(meta is None for meta in metas)

    def run(args: tuple, kwargs: dict[str, Any]) -> list[torch.UntypedStorage]:
        result = plan.op(*args, **kwargs) if alone else host.run(session, plan, args, kwargs)
        found: list[torch.UntypedStorage] = []
        if makes_none:
            return found
        for leaf, meta in zip(tree_leaves(result), metas, strict=True):
            if meta is None:
                continue
            if not is_plain(leaf) or meta_of(leaf) is not meta:
                raise Miss(f"a result of {plan.op} has another form than at the recording")
            found.append(storage_of(leaf))
        return found

    return run


def reading_step(session: Any, plan: Plan, outcome: Callable[[Any], Any]) -> Callable[..., Any]:
    """A step that runs an op on the host that gives no tensors; its result is what the program sees of it."""

    def run(args: tuple, kwargs: dict[str, Any]) -> Any:
        return outcome(host.run(session, plan, args, kwargs))

    return run


def number_step(session: Any, plan: Plan) -> Callable[..., Any]:
    """A step that reads a number, which later steps take."""

    def run(args: tuple, kwargs: dict[str, Any]) -> float:
        number = host.run(session, plan, args, kwargs)
        if type(number) is not float:
            raise Miss(f"a number that was a float at the recording is {number!r:.40}")
        return number

    return run
