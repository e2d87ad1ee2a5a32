"""Writes a skeleton of an entry, from the op's schema, PyTorch's tests and the names of ttnn's functions."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator
from keyword import kwlist
from pathlib import Path

import torch
from pydantic import BaseModel

from ..errors import TtregError
from ..pytorch_private import OpOverload, OpOverloadPacket, has_kernel
from ..registry import registry
from ..schema import functional_form, tensor_arguments, written_arguments
from ..verification.verify import Verdict, verify
from .lookup import find_op
from .op_samples import NO_OP_INFOS, calls_of, has_op_infos, sample_code

_GROUPS = {"BOOL": {torch.bool}, "INDICES": {torch.int64, torch.int32}}
# Arguments that a lowering ignores while they are None: the session decides on device and generator.
_LEFT_NONE = ("Generator", "Device", "Layout", "MemoryFormat", "ScalarType")


class Skeleton(BaseModel):
    """The code of a first entry, and what `verify` says about it."""

    op: str
    code: str
    candidates: list[str]  # ttnn's functions that are named like the op, the likeliest first
    samples: int
    verdicts: list[Verdict] = []


def skeleton(name: str) -> Skeleton:
    """The skeleton for the op; of several overloads, for the first that has no entry.

    Raises UnknownOpError, and TtregError if every overload has an entry or none returns a new tensor.
    """
    op = _without_entry(find_op(name))
    calls = calls_of(op)
    samples = [f"    yield {sample_code(call, op)}" for call in calls]
    samples += [f"    yield {sample_code(call, op, torch.bfloat16)}" for call in calls[-1:]]
    samples += [f"    yield {sample_code(call, op, torch.float64)}  # a dtype that ttnn has not" for call in calls[-1:]]
    candidates = _candidates(op)
    code = _code(op, _takes(op, calls), samples, candidates)
    return Skeleton(op=str(op), code=code, candidates=candidates, samples=len(samples))


def tried(made: Skeleton, arch: str) -> Iterator[Verdict]:
    """What `verify` says about the skeleton's samples on the mocked chip."""
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "skeleton.py"
        module.write_text(made.code)
        yield from (verdict for verdict in verify(arch, [made.op], module) if verdict.op == made.op)


def _without_entry(found: OpOverload | OpOverloadPacket) -> OpOverload:
    overloads = [found] if isinstance(found, OpOverload) else [getattr(found, name) for name in found.overloads()]
    overloads = [functional_form(op) or op for op in overloads if has_kernel(op.name())]
    usable = [op for op in overloads if tensor_arguments(op) and not written_arguments(op)]
    if not usable:
        raise TtregError(f"{found} takes no tensor, or writes to one: it has no lowering of its own")
    usable = [op for op in usable if not any(a.name in kwlist for a in op._schema.arguments)]
    if not usable:
        raise TtregError(f"{found} has an argument whose name no Python function can take, so it has no lowering")
    free = [op for op in usable if registry.find(op) is None]
    if not free:
        raise TtregError(f"{usable[0]} has an entry already: ttreg show {str(found).removeprefix('aten.')}")
    return free[0]


def _candidates(op: OpOverload) -> list[str]:
    """ttnn's functions that are named like the op."""
    from ..devices import import_ttnn

    ttnn = import_ttnn()
    functions = [name for name in dir(ttnn) if hasattr(getattr(ttnn, name), "python_fully_qualified_name")]
    name = op._schema.name.partition("::")[2].strip("_")
    exact = [function for function in functions if function == name]
    parts = [f for f in functions if len(name) > 3 and (name in f or (len(f) > 3 and f in name)) and "moreh" not in f]
    return list(dict.fromkeys([*exact, *parts, *difflib.get_close_matches(name, functions, 4, 0.75)]))[:6]


def _takes(op: OpOverload, calls: list[dict]) -> str:
    """The dtypes of each tensor argument, as far as the calls show them."""
    groups: dict[str, str] = {}
    for name in tensor_arguments(op):
        items = [item for call in calls for item in (call[name] if isinstance(call[name], list) else [call[name]])]
        dtypes = {item.dtype for item in items if isinstance(item, torch.Tensor)}
        group = next((group for group, of in _GROUPS.items() if dtypes and dtypes <= of), "FLOATS")
        groups[name] = group
    if len(set(groups.values())) == 1:
        return next(iter(groups.values()))
    return "{" + ", ".join(f'"{name}": {group}' for name, group in groups.items()) + "}"


def _function_name(op: OpOverload) -> str:
    """The op's name, unless Python or the module has another use for it."""
    name = op._schema.name.partition("::")[2].strip("_")
    taken = (*kwlist, "torch", "lower", "samples", "bools", "ints", "rand")
    return f"{name}_" if name in taken else name


def _left_none(op: OpOverload) -> list[str]:
    arguments = op._schema.arguments
    return [a.name for a in arguments if a.default_value is None and any(k in str(a.real_type) for k in _LEFT_NONE)]


def _code(op: OpOverload, takes: str, samples: list[str], candidates: list[str]) -> str:
    taken = [a for a in op._schema.arguments if a.name not in _left_none(op)]
    tensors = [a.name for a in taken if a.name in tensor_arguments(op)]
    others = [f"{a.name}={a.name}" for a in taken if a.name not in tensors]
    call = f"tt.{candidates[0]}({', '.join([*tensors, *others])})" if candidates else ""
    body = [f"    return {call}"] if call else [f'    raise NotImplementedError("no ttnn function is named like {op}")']
    if len(candidates) > 1:
        body.insert(0, f"    # ttnn also has {', '.join(candidates[1:])}.")
    if not samples:
        why = "PyTorch's own tests have none" if has_op_infos() else NO_OP_INFOS
        samples = [
            f"    # {why}: yield Sample(...) with arguments of the op.",
            "    return iter(())",
        ]
    conditions = [f'Is("{name}", None)' for name in _left_none(op)]
    text = "\n".join(samples)
    used = [name for name in ("bools", "ints", "rand") if f"{name}(" in text]
    condition_names = [name for name in ("BOOL", "FLOATS", "INDICES") if name in takes] + ["Is"] * bool(conditions)
    namespace = op.namespace
    return "\n".join(
        [
            f'"""{op}, which is {op._schema}"""',
            "",
            "import torch",
            "",
            "from ttreg import lower",
            f"from ttreg.conditions import {', '.join(condition_names)}",
            f"from ttreg.samples import {', '.join(['Sample', *used])}",
            "",
            "",
            "def samples():",
            *samples,
            "",
            "",
            "@lower(",
            f"    torch.ops.{namespace}.{str(op).partition('.')[2]},",
            "    samples=samples,",
            f"    takes={takes},",
            *([f"    when=[{', '.join(conditions)}],"] if conditions else []),
            ")",
            f"def {_function_name(op)}(tt, {', '.join(a.name for a in taken)}):",
            *body,
            "",
        ]
    )
