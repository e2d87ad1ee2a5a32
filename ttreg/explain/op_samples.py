"""Sample calls for an op without an entry, taken from PyTorch's own tests, as source code."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from typing import Any

import torch

from ..call import Call, bind_arguments
from ..meta import dtype_name
from ..notation import write
from ..pytorch_private import OpOverload, TorchDispatchMode, tree_leaves

_LARGEST, _KEPT, _LOOKED_AT = 5000, 5, 40  # elements of all tensors of a call, calls that are kept, and that are made


class _Calls(TorchDispatchMode):
    """Keeps the calls of one op that a program makes."""

    def __init__(self, op: OpOverload):
        super().__init__()
        self._op = op
        self.calls: list[dict[str, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self._op:
            self.calls.append(bind_arguments(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def calls_of(op: OpOverload) -> list[dict[str, Any]]:
    """A few small calls of the op, different in metadata, by argument; none if PyTorch's tests make none."""
    found: dict[str, dict[str, Any]] = {}
    for call in islice(_all_calls(op), _LOOKED_AT):
        tensors = [leaf for leaf in tree_leaves(call) if isinstance(leaf, torch.Tensor)]
        if tensors and all(t.numel() for t in tensors) and sum(t.numel() for t in tensors) <= _LARGEST:
            found.setdefault(str(Call.bind(op, (), call)), call)
    return list(found.values())[:_KEPT]


def _all_calls(op: OpOverload) -> Iterator[dict[str, Any]]:
    for info in _op_infos(op._schema.name.partition("::")[2]):
        for sample in info.sample_inputs("cpu", torch.float32, requires_grad=False):
            mode = _Calls(op)
            try:
                with torch.inference_mode(), mode:
                    info.op(sample.input, *sample.args, **sample.kwargs)
            except Exception:  # a sample that this machine's PyTorch cannot run says nothing of the op
                continue
            yield from mode.calls


# Packages that PyTorch imports only to define its tests.
NO_OP_INFOS = "PyTorch's own tests need the package expecttest"


def has_op_infos() -> bool:
    """Whether PyTorch's op infos can be imported here."""
    return find_spec("expecttest") is not None


def _op_infos(name: str) -> list[Any]:
    """PyTorch's op infos whose name says that they are about the op."""
    if not has_op_infos():
        return []
    # It warns that there is no CUDA runtime, where PyTorch was built with one.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from ..pytorch_private import op_db as database

    op_db = database()

    wanted = name.strip("_")
    names = {wanted, wanted.removesuffix("_forward"), wanted.removeprefix("native_")}
    return [i for i in op_db if {i.aten_name.strip("_"), i.name.rpartition(".")[2].strip("_")} & names]


def sample_code(call: dict[str, Any], op: OpOverload, dtype: torch.dtype | None = None) -> str:
    """`Sample(…)` in the words of `ttreg.samples`; its floating-point tensors are of `dtype` if one is given."""
    given = {
        a.name: value
        for a, value in zip(op._schema.arguments, call.values(), strict=True)
        if not (a.has_default_value() and _same(value, a.default_value))
    }
    positional = []
    for argument in op._schema.arguments:  # up to the first that is left out
        if argument.name not in given or argument.kwarg_only:
            break
        positional.append(_code(given.pop(argument.name), dtype))
    return f"Sample({', '.join([*positional, *(f'{name}={_code(value, dtype)}' for name, value in given.items())])})"


def _same(value: Any, default: Any) -> bool:
    return not isinstance(value, torch.Tensor) and type(value) is type(default) and value == default


def _code(value: Any, dtype: torch.dtype | None) -> str:
    if isinstance(value, torch.Tensor):
        return _tensor_code(value, dtype)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_code(item, dtype) for item in value)}]"
    if isinstance(value, (torch.dtype, torch.memory_format, torch.layout)):
        return f"torch.{write(value)}"
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def _tensor_code(tensor: torch.Tensor, dtype: torch.dtype | None) -> str:
    shape = [str(size) for size in tensor.shape]
    if tensor.dtype == torch.bool:
        return f"bools({', '.join(shape)})"
    if tensor.dtype.is_complex:
        return f"rand({', '.join(shape)}).to(torch.{dtype_name(tensor.dtype)})"
    low, high = math.floor(tensor.min()), math.ceil(tensor.max())
    if not tensor.dtype.is_floating_point:
        return (
            f"ints({', '.join([*shape, f'low={low}', f'high={high + 1}', f'dtype=torch.{dtype_name(tensor.dtype)}'])})"
        )
    dtype = dtype or tensor.dtype
    spread = [f"low={float(low)}", f"high={float(max(high, low + 1))}"] if low >= 0 and tensor.numel() > 4 else []
    of_dtype = [f"dtype=torch.{dtype_name(dtype)}"] if dtype != torch.float32 else []
    return f"rand({', '.join([*shape, *spread, *of_dtype])})"
