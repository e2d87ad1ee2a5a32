"""`ttnn_function`: a function of ttnn tensors as an op of PyTorch."""

from __future__ import annotations

import atexit
import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any, NoReturn, get_args, get_origin, overload

import torch

from ..call import bind_arguments
from ..errors import DeviceError
from ..forks import new_lock
from ..pytorch_private import OpOverload
from ..runtime.ttnn_ops import TTNN_OPS, TtnnOp

_NAMESPACE = "ttnn_function"
_PLAIN = {bool: "bool", int: "int", float: "float", str: "str"}
_NAMES = {"bool": bool, "int": int, "float": float, "str": str}

_library = torch.library.Library(_NAMESPACE, "DEF")
_taken: dict[str, int] = {}
_lock = new_lock()

# PyTorch keeps kernels until after Python has ended. It should not keep the program's functions, whose modules hold
# what belongs to ttnn: ttnn would complain.
_hosts: dict[str, tuple[OpOverload, Callable[..., Any]]] = {}
atexit.register(_hosts.clear)


class TtnnFunction:
    """What `ttnn_function` makes: called with tensors in a block, it calls the function with their ttnn values.

    `op` is the op that it is for PyTorch, and for reports.
    """

    op: OpOverload

    def __init__(self, function: Callable[..., Any], outputs: int, backward: Any, host: Any):
        update_wrapper(self, function)
        self._signature = inspect.signature(function)
        kinds = {p.name: _kind(p) for p in self._signature.parameters.values()}
        schema = [_parameter(p, kinds[p.name]) for p in self._signature.parameters.values()]
        places = [place for place, kind in enumerate(kinds.values()) if kind.startswith("Tensor")]
        if not places:
            raise TypeError(f"{function.__qualname__} takes no tensor")
        self.op = _define(function.__name__, schema, outputs, TtnnOp(function, outputs, has_host=host is not None))
        name = str(self.op._schema.name)
        if host is not None:
            _hosts[name] = self.op, host
        on_host = partial(_only_in_blocks if host is None else _on_host, name)
        torch.library.impl(name, "cpu", on_host, lib=_library)
        torch.library.register_fake(name, on_host, lib=_library)
        if backward is None:
            _cannot_differentiate(name, "it has no `backward`")
            return
        if any(kind == "Tensor[]" for kind in kinds.values()):
            raise TypeError(f"{function.__qualname__} takes a list of tensors, of which there are no gradients")
        like = tuple(list(kinds)[place] for place in places)
        grads = [f"Tensor grad_{number}" for number in range(outputs)]
        reversed_op = _define(f"{function.__name__}_backward", grads + schema, len(like), TtnnOp(backward, like=like))
        _differentiate(name, reversed_op, places, len(schema))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return self.op(*bound.arguments.values())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else partial(self, instance)


@overload
def ttnn_function(function: Callable[..., Any], /) -> TtnnFunction: ...


@overload
def ttnn_function(
    *, outputs: int = 1, backward: Callable[..., Any] | None = None, host: Callable[..., Any] | None = None
) -> Callable[[Callable[..., Any]], TtnnFunction]: ...


def ttnn_function(
    function: Callable[..., Any] | None = None,
    /,
    *,
    outputs: int = 1,
    backward: Callable[..., Any] | None = None,
    host: Callable[..., Any] | None = None,
) -> Any:
    """Decorates a function of ttnn tensors: a program calls it with tensors of PyTorch, in a block.

    The function gets the device's own values of the tensors, without a copy: it may not write to them, nor deallocate
    them. It returns a ttnn tensor, or as many as `outputs` says, in any layout and memory. A parameter is a tensor
    unless its annotation or its default says that it is a bool, int, float or str, or a list of numbers. A list of
    tensors is annotated as `list[torch.Tensor]`.

    `backward` gets the gradient of each output, then the arguments, all as ttnn tensors, and returns the gradient of
    each tensor, None where there is none. `host` does the same in PyTorch, for calls outside of blocks and for what the
    device does not take. Raises TypeError for a signature that an op cannot have.
    """
    if function is None:
        return partial(ttnn_function, outputs=outputs, backward=backward, host=host)
    if isinstance(function, type) or not inspect.isfunction(function):
        raise TypeError(f"ttreg.ttnn_function decorates functions; got {function!r:.80}")
    if outputs < 1:
        raise TypeError(f"outputs is {outputs}; an op has at least one")
    return TtnnFunction(function, outputs, backward, host)


def _define(name: str, parameters: Sequence[str], outputs: int, made: TtnnOp) -> OpOverload:
    """Make an op; a function that is defined again, as in a notebook, gets an op of its own."""
    name = re.sub(r"\W", "_", name).strip("_") or "function"
    with _lock:
        _taken[name] = _taken.get(name, 0) + 1
        name = name if _taken[name] == 1 else f"{name}_{_taken[name]}"
        returns = "Tensor" if outputs == 1 else f"({', '.join(['Tensor'] * outputs)})"
        _library.define(f"{name}({', '.join(parameters)}) -> {returns}")
    op: OpOverload = getattr(getattr(torch.ops, _NAMESPACE), name).default
    TTNN_OPS[op] = made
    if made.like:
        full = str(op._schema.name)
        torch.library.impl(full, "cpu", partial(_only_in_blocks, full), lib=_library)
        _cannot_differentiate(full, "it has no second derivative")
    return op


def _differentiate(name: str, backward: OpOverload, places: list[int], count: int) -> None:
    def set_up(ctx: Any, inputs: tuple, output: Any) -> None:
        ctx.save_for_backward(*(inputs[place] for place in places))
        ctx.plain = {place: inputs[place] for place in range(count) if place not in places}

    def back(ctx: Any, *grads: Any) -> Any:
        given = ctx.plain | dict(zip(places, ctx.saved_tensors, strict=True))
        made = backward(*grads, *(given[place] for place in range(count)))
        made = dict(zip(places, [made] if len(places) == 1 else made, strict=True))
        wanted = dict(enumerate(ctx.needs_input_grad))  # without trailing arguments that have their default
        found = tuple(made.get(place) if wanted.get(place) else None for place in range(count))
        return found if count > 1 else found[0]

    torch.library.register_autograd(name, back, setup_context=set_up, lib=_library)


def _cannot_differentiate(name: str, why: str) -> None:
    def back(ctx: Any, *grads: Any) -> NoReturn:
        raise RuntimeError(f"{name} cannot be differentiated: {why}")

    torch.library.register_autograd(name, back, lib=_library)


def _on_host(name: str, *args: Any) -> Any:
    op, host = _hosts[name]
    # PyTorch drops trailing arguments that have their default.
    return host(*bind_arguments(op, args, {}).values())


def _only_in_blocks(name: str, *args: Any) -> NoReturn:
    raise DeviceError(
        f"{name} is written in ttnn. Outside of blocks of ttreg.device_mode, and for a call that the device does not "
        "take, it needs `host=`, a function that does the same in PyTorch"
    )


def _kind(parameter: inspect.Parameter) -> str:
    """The type of the parameter in the op's schema."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        raise TypeError(f"a parameter such as *{parameter.name} has no place in an op; name each one")
    asked, default = parameter.annotation, parameter.default
    optional = default is None
    if asked is parameter.empty and default is not parameter.empty and default is not None:
        if isinstance(default, (list, tuple)):
            return f"{_PLAIN[type(default[0])]}[]" if default and type(default[0]) in _PLAIN else "int[]"
        asked = type(default)
    if isinstance(asked, str):
        optional = optional or "None" in asked or asked.startswith("Optional")
        asked = _named(asked)
    elif type(None) in get_args(asked):
        optional = True
        asked = next(each for each in get_args(asked) if each is not type(None))
    if get_origin(asked) in (list, tuple, Sequence):
        item = get_args(asked)[0] if get_args(asked) else None
        return f"{_PLAIN[item]}[]" if item in _PLAIN else "Tensor[]"
    return f"{_PLAIN.get(asked, 'Tensor')}{'?' if optional else ''}"


def _named(annotation: str) -> Any:
    """The type that an annotation names, as far as it matters here."""
    text = annotation.replace("Optional[", "").replace("| None", "").strip(" ]" if "Optional" in annotation else " ")
    of = re.fullmatch(r"(?:typing\.|collections\.abc\.)?(?:list|List|tuple|Tuple|Sequence)\[([\w.]+).*\]", text)
    if of is not None:
        return list[_NAMES.get(of[1], torch.Tensor)]  # type: ignore[misc]
    return _NAMES.get(text, torch.Tensor)


def _parameter(parameter: inspect.Parameter, kind: str) -> str:
    default = parameter.default
    if default is parameter.empty:
        return f"{kind} {parameter.name}"
    if kind.startswith("Tensor") and default is not None:
        raise TypeError(f"the parameter {parameter.name} is a tensor, with a default that is none")
    if isinstance(default, str):
        return f'{kind} {parameter.name}="{default}"'
    return f"{kind} {parameter.name}={list(default) if isinstance(default, tuple) else default}"
