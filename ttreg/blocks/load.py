"""`load`: the weights of safetensors files, mapped into a model's parameters and brought to the device."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..errors import WeightsError
from ..memory.tensor import DeviceTensor
from ..memory.watch import watch
from ..modes import without_modes
from ..runtime.ahead import bring_ahead, is_known
from ..runtime.block_floats import carry
from .mode import block_of_thread

if TYPE_CHECKING:
    from ..runtime.session import Session
    from ..weights.files import Stored

Slots = list[tuple[dict[str, Any], str, Any]]  # where a module has a parameter or buffer, its name there, and itself


def load(
    model: torch.nn.Module,
    path: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    dtypes: Mapping[str, str | None] | None = None,
    strict: bool = True,
) -> Any:
    """Load a model's weights from a safetensors file, from several, or from the shards that an index (.json) lists.

    The parameters then have the files' memory, mapped: a page is read when someone looks at it, and the program's
    writes do not get to the file. In a block, the weights of `nn.Linear` layers go to the device at once, one after
    the other; all others, and all of them outside of blocks, go there when a block first uses them.

    `dtypes` says by patterns of names in which ttnn dtype the device carries weights wherever they enter a matrix
    product: "bfloat8_b", "bfloat4_b", "bfloat16", "float32", or None for their own. The first pattern that a name
    matches counts. Parameters of fewer than two dimensions keep their own.

    `strict`, and what is returned, are as of `load_state_dict`. The model may be on the meta device; its dtypes count,
    so that a parameter in another dtype than the file's is a converted copy. A model of which not all can be loaded
    stays as it was.

    Raises WeightsError, a RuntimeError and a ValueError, for missing, unexpected and mis-shaped weights, for a file
    that is broken, for an unknown dtype and a pattern that matches nothing; FileNotFoundError.
    """
    from ..weights.files import stored_in  # which imports safetensors
    from ..weights.forms import dtypes_by_name

    block = block_of_thread()
    with without_modes():
        parameters = dict(model.named_parameters(remove_duplicate=False))
        forms = dtypes_by_name(parameters, dtypes or {})
        stored = stored_in(path)
        names = _with_tied(stored, parameters)
        slots = _slots(model)
        result, by_id = _take(model, names, slots, strict)
        for name, dtype in forms.items():
            parameter = model.get_parameter(name)
            if parameter.dim() >= 2:
                carry(parameter, dtype)
        if block is not None:
            _bring(block.session, model, by_id)
    return result


def _with_tied(stored: Mapping[str, Stored], parameters: Mapping[str, torch.Tensor]) -> dict[str, Stored]:
    """The tensors by name, also under the other names of tied parameters: a file has those once."""
    found = dict(stored)
    named = {id(parameters[name]): stored[name] for name in stored if name in parameters}
    for name, parameter in parameters.items():
        if name not in found and id(parameter) in named:
            found[name] = named[id(parameter)]
    return found


def _slots(model: torch.nn.Module) -> Slots:
    found: Slots = []
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            found += [(held, name, tensor) for name, tensor in held.items() if tensor is not None]
    return found


def _take(
    model: torch.nn.Module, names: Mapping[str, Stored], slots: Slots, strict: bool
) -> tuple[Any, dict[int, Stored]]:
    """Load the tensors as `load_state_dict` does; gives what that gives, and the mapped ones by ids of parameters."""
    own = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers(remove_duplicate=False))}
    mapped: dict[int, tuple[Stored, torch.Tensor]] = {}  # by storage
    tensors: dict[str, torch.Tensor] = {}
    once: dict[int, torch.Tensor] = {}
    for name, stored in names.items():
        target = own.get(name)
        tensor = once.get(id(target)) if target is not None else None
        if tensor is None:
            tensor = stored.programs()
            if target is not None and target.dtype is not tensor.dtype and target.shape == tensor.shape:
                tensor = tensor.to(target.dtype)
            elif isinstance(target, torch.nn.Parameter):
                mapped[tensor.untyped_storage()._cdata] = stored, tensor
            once[id(target)] = tensor
        tensors[name] = tensor
    try:
        result = model.load_state_dict(tensors, strict=strict, assign=True)
    except RuntimeError as error:
        for held, name, before in slots:
            held[name] = before
        raise WeightsError(f"the files do not fit the model: {error}") from None
    _keep_identities(slots)
    by_id: dict[int, Stored] = {}
    for parameter in model.parameters():
        if type(parameter) is torch.nn.Parameter and parameter.device.type == "cpu":
            storage = parameter.untyped_storage()
            if storage._cdata in mapped:
                watch(storage).of_file = True
                by_id[id(parameter)] = mapped[storage._cdata][0]
    return result, by_id


def _keep_identities(slots: Slots) -> None:
    """Put the parameters and buffers back that the model had, with the new content: optimizers may have them."""
    sharing = Counter(
        tensor.untyped_storage()._cdata
        for tensor in {id(tensor): tensor for _, _, tensor in slots}.values()
        if _is_plain(tensor)
    )
    instead: dict[int, torch.Tensor] = {}  # by the id of what the model had, perhaps in several places
    for held, name, before in slots:
        if id(before) not in instead:
            instead[id(before)] = _put_into(before, held[name], sharing)
        held[name] = instead[id(before)]


def _put_into(before: Any, new: torch.Tensor, sharing: Counter[int]) -> torch.Tensor:
    """What the model had, with the memory or the content of what was loaded; or the latter, if that cannot be."""
    if new is before or before.is_meta or isinstance(before, DeviceTensor):
        return new
    storage = before.untyped_storage() if _is_plain(before) and isinstance(before, torch.nn.Parameter) else None
    if storage is not None and storage.nbytes() == new.nbytes and sharing[storage._cdata] == 1:
        before.data = new.data
    else:  # others may have the memory
        with torch.no_grad():
            before.copy_(new)
    return before


def _is_plain(tensor: torch.Tensor) -> bool:
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"


def _bring(session: Session, model: torch.nn.Module, stored: dict[int, Stored]) -> None:
    layers = [layer for layer in model.modules() if is_known(layer) and id(layer.weight) in stored]
    if session.activity is not None:
        session.activity.expect(sum(layer.weight.nbytes for layer in layers))
    try:
        for layer in layers:
            bring_ahead(session, layer, stored)
    finally:
        if session.activity is not None:
            session.activity.end()
        cache = session.weights.cache
        for file in {each.file for each in stored.values()}:
            if cache is not None:
                cache.write_digests(file)
