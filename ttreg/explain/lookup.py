"""Finds ops by what a user types: `conv2d`, `torch.softmax`, `aten::add.Tensor`, `torch.ops.torchvision.nms`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import suppress

import torch

from ..errors import TtregError
from ..pytorch_private import OpOverload, OpOverloadPacket, all_op_names, has_kernel
from ..registry import Entry, registry
from ..schema import functional_form


class UnknownOpError(TtregError, ValueError):
    """No op has the name. The message lists the closest names."""


def find_op(name: str) -> OpOverload | OpOverloadPacket:
    """The overload of that name, or all overloads of the op if the name says no more; `aten` may be left out.

    Raises UnknownOpError.
    """
    parts = _as_aten(name.removeprefix("torch.ops.").replace("::", ".")).split(".")
    for namespace, *rest in (["aten", *parts], parts):
        if not 1 <= len(rest) <= 2 or not (namespace.isidentifier() and rest[0].isidentifier()):
            continue
        _import_library(namespace)
        packet = getattr(getattr(torch.ops, namespace), rest[0], None)
        if not isinstance(packet, OpOverloadPacket):
            continue
        if len(rest) == 1:
            return packet
        if rest[1] in packet.overloads():
            return getattr(packet, rest[1])
        overloads = [getattr(packet, overload) for overload in packet.overloads()]
        known = ", ".join(str(op) for op in overloads if has_kernel(op.name()))
        raise UnknownOpError(f"{packet} has no overload {rest[1]!r}; it has {known}")
    close = closest(".".join(parts))
    hint = f"; the closest are {', '.join(close)}" if close else ""
    raise UnknownOpError(f"no op is named {name!r}{hint}")


# As programs write them, and as aten has them.
_MODULES = {
    "torch.nn.functional.": "",
    "nn.functional.": "",
    "F.": "",
    "torch.Tensor.": "",
    "torch.special.": "special_",
    "torch.linalg.": "linalg_",
    "torch.fft.": "fft_",
    "torch.": "",
}


def _as_aten(name: str) -> str:
    """`torch.softmax` as `softmax`, `torch.linalg.norm` as `linalg_norm`."""
    for module, prefix in _MODULES.items():
        if name.startswith(module):
            return prefix + name.removeprefix(module)
    return name


def entries_of(name: str) -> list[Entry]:
    """The entries of the op, of each of its overloads if the name says no more; of the functional form of others.

    Raises UnknownOpError, and for an op that has no entry.
    """
    op = find_op(name)
    overloads = [op] if isinstance(op, OpOverload) else [getattr(op, overload) for overload in op.overloads()]
    found = list({entry.op: entry for entry in map(registry.find, overloads) if entry is not None}.values())
    if not found:
        close = [n for n in closest(str(op).removeprefix("aten.")) if n in set(_names(_registered()))]
        hint = f"; the closest that have one are {', '.join(close)}" if close else ""
        raise UnknownOpError(f"{op} has no entry, so it runs on the host or as its parts{hint}")
    return found


def closest(name: str) -> list[str]:
    """Names of ops that are spelt like `name`, as a user types them. Ops with entries come first."""
    registered = list(dict.fromkeys(_names(_registered())))
    others = list(dict.fromkeys(_names(all_op_names())))
    short = name.removeprefix("aten.")
    starting = [n for n in registered if n.startswith(short)][:3]
    near = difflib.get_close_matches(short, registered, 3, 0.7)
    return list(dict.fromkeys([*starting, *near, *difflib.get_close_matches(short, others, 3, 0.7)]))[:5]


def derived_forms(entry: Entry) -> list[OpOverload]:
    """The in-place and `out=` overloads that the entry serves as well."""
    namespace, _, name = entry.op._schema.name.partition("::")
    found = []
    for packet_name in (name, f"{name}_"):
        packet = getattr(getattr(torch.ops, namespace), packet_name, None)
        for overload in packet.overloads() if isinstance(packet, OpOverloadPacket) else ():
            op = getattr(packet, overload)
            if functional_form(op) is entry.op:
                found.append(op)
    return found


def _registered() -> Iterator[str]:
    return (str(entry.op).replace(".", "::", 1) for entry in registry)


def _names(qualified: Iterable[str]) -> Iterator[str]:
    """`aten::add.Tensor` as `add`, in the order of the alphabet."""
    return (name.partition(".")[0].removeprefix("aten::").replace("::", ".") for name in sorted(qualified))


def _import_library(namespace: str) -> None:
    """Import the library whose ops these are, if there are entries for it: importing it defines them."""
    if importlib.util.find_spec(f"ttreg.ops.for_{namespace}") is not None:
        with suppress(ImportError):
            importlib.import_module(namespace)
