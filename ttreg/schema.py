"""Reads PyTorch's operator schemas: arguments, writes, aliases, and the functional form of an overload."""

from __future__ import annotations

import fnmatch
from functools import cache

import torch

from .pytorch_private import OpOverload, has_kernel_for

# Arguments that the op writes to if `training` is set, without an alias annotation in the schema.
RUNNING_STATISTICS = ("running_mean", "running_var")
_UNANNOTATED_WRITES = {
    torch.ops.aten.native_batch_norm.default: RUNNING_STATISTICS,
    torch.ops.aten._batch_norm_impl_index.default: RUNNING_STATISTICS,
    torch.ops.aten.cudnn_batch_norm.default: RUNNING_STATISTICS,
}

# Ops of PyTorch's own that move tensors between processes, or gather what is sent: none computes what a device could.
_BETWEEN_PROCESSES = frozenset(
    ("c10d", "c10d_functional", "_c10d_functional", "_c10d_functional_autograd", "_dtensor", "fsdp")
)

# Those of their arguments that they write to, none of which the schemas annotate.
_RECEIVING = frozenset(("output", "outputs", "output_tensor", "output_tensors", "output_lists", "all_gather_output"))
_BOTH_WAYS = frozenset(("allreduce_", "allreduce_coalesced_", "broadcast_", "reduce_", "recv_", "recv_any_source_"))

# Elementwise ops that PyTorch does not tag as such.
_UNTAGGED = frozenset(
    (
        *("_prelu_kernel", "_prelu_kernel_backward", "elu_backward", "floor_divide", "hardshrink_backward"),
        *("hardsigmoid_backward", "hardswish", "hardswish_backward", "hardtanh_backward", "leaky_relu_backward"),
        *("log_sigmoid_backward", "log_sigmoid_forward", "masked_fill", "rsub", "softplus_backward"),
        *("softshrink_backward", "where"),
    )
)

_DIMENSIONS = frozenset(("dim", "dims", "dim0", "dim1", "dim2", "dimension"))

# Views without an alias annotation in the schema. On CPU their results share the input's memory.
_UNANNOTATED_VIEWS = frozenset(
    (
        torch.ops.aten._unsafe_view.default,
        torch.ops.aten.unsafe_split.Tensor,
        torch.ops.aten.unsafe_split_with_sizes.default,
    )
)


@cache
def overload(name: str) -> OpOverload | None:
    """The overload with this name, such as "aten.add.Tensor", as `str` gives it; None if PyTorch has no such op."""
    found: object = torch.ops
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except (AttributeError, RuntimeError, TypeError):  # the last where a name is no UTF-8
            return None
    return found if isinstance(found, OpOverload) else None


@cache
def argument_names(op: OpOverload) -> tuple[str, ...]:
    """Names of the op's arguments, in schema order."""
    return tuple(argument.name for argument in op._schema.arguments)


@cache
def tensor_arguments(op: OpOverload) -> tuple[str, ...]:
    """Names of the arguments that hold a tensor, an optional tensor, or a list of tensors."""
    return tuple(a.name for a in op._schema.arguments if "Tensor" in str(a.type))


@cache
def is_elementwise(op: OpOverload) -> bool:
    """Whether each result element depends only on the argument elements at the same place."""
    return torch.Tag.pointwise in op.tags or (op.namespace == "aten" and op._opname in _UNTAGGED)


@cache
def dimension_arguments(op: OpOverload) -> tuple[str, ...]:
    """Names of the arguments that name dimensions of a tensor, for PyTorch's own ops."""
    if op.namespace != "aten":
        return ()
    return tuple(name for name in argument_names(op) if name in _DIMENSIONS)


@cache
def written_arguments(op: OpOverload) -> tuple[str, ...]:
    """Names of the arguments whose memory the op writes to, even if the schema does not say so."""
    annotated = [a.name for a in op._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return (*annotated, *_UNANNOTATED_WRITES.get(op, ()), *_received(op))


def is_named(name: str, pattern: str) -> bool:
    """Whether the pattern is part of an op's name, or matches the whole name with `*` and `?`."""
    if any(sign in pattern for sign in "*?["):
        short = name.removeprefix("aten.")
        return any(fnmatch.fnmatchcase(n, pattern) for n in (name, short, short.partition(".")[0]))
    return pattern.replace("::", ".") in name


@cache
def is_between_processes(op: OpOverload) -> bool:
    """Whether the op moves tensors between processes, as collectives do, or only gathers what they send."""
    return op.namespace in _BETWEEN_PROCESSES


def _received(op: OpOverload) -> tuple[str, ...]:
    """Arguments that hold what other processes send, which no schema annotates."""
    if not is_between_processes(op):
        return ()
    if op._opname in ("irecv", "batch_p2p_ops") or (op.namespace == "c10d" and op._opname in _BOTH_WAYS):
        return tuple(name for name in ("tensor", "tensors") if name in argument_names(op))
    unannotated = [a.name for a in op._schema.arguments if a.alias_info is None]
    gathers = op._opname in ("all_gather_copy_in", "all_to_all_single") or op.namespace == "c10d"
    return tuple(name for name in unannotated if name in _RECEIVING) if gathers else ()


# Ops that fill their argument `self` with values or random numbers. `bernoulli` without other arguments reads it.
_FILLS = frozenset(
    (
        *("fill", "zero", "copy", "uniform", "normal", "normal_functional", "random", "exponential", "cauchy"),
        *("log_normal", "geometric", "bernoulli.float", "bernoulli.p", "bernoulli.Tensor"),
    )
)


@cache
def unread_arguments(op: OpOverload) -> frozenset[str]:
    """Names of the arguments whose values the op does not read.

    They are `out`, a tensor that the op fills (`zero_`, `uniform_`), and the model of a new tensor (`zeros_like`).
    """
    unread = {argument.name for argument in op._schema.arguments if argument.is_out}
    name = op._schema.name.partition("::")[2].rstrip("_").removeprefix("_foreach_")
    if not _FILLS.isdisjoint((name, f"{name}.{op._overloadname}")) or name.startswith("new_") or name.endswith("_like"):
        unread.update({"self"} & set(tensor_arguments(op)))
    return frozenset(unread)


@cache
def is_bookkeeping(op: OpOverload) -> bool:
    """Whether the op computes nothing and reads no value: it starts a profiler range or returns a size, for example."""
    if op._schema.name in ("aten::set_", "aten::lift_fresh"):
        return True
    gives_tensors = any("Tensor" in str(returned.type) for returned in op._schema.returns)
    reads = torch.Tag.data_dependent_output in op.tags or "assert" in op._schema.name
    return not (gives_tensors or reads or written_arguments(op))


@cache
def leaves_counting(op: OpOverload) -> bool:
    """Whether the ops inside this op count its writes for autograd. That is so for ops that write to a list."""
    return bool(written_arguments(op)) and not op._schema.returns


@cache
def is_view(op: OpOverload) -> bool:
    """Whether the op returns aliases of an input and writes to nothing."""
    aliases = any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)
    return (aliases or op in _UNANNOTATED_VIEWS) and not written_arguments(op)


@cache
def view_form(op: OpOverload) -> OpOverload | None:
    """The view op whose metadata an in-place op gives its argument: `aten.t` for `aten.t_`; None for other ops."""
    functional = functional_form(op) if torch.Tag.inplace_view in op.tags else None
    return functional if functional is not None and is_view(functional) else None


@cache
def is_in_place(op: OpOverload) -> bool:
    """Whether the op's name says that it writes to its first argument."""
    name = op._schema.name
    return name.endswith("_") and not name.endswith("__")


@cache
def is_composite(op: OpOverload) -> bool:
    """Whether PyTorch composes the op from other ops. Such an op arrives whole under `inference_mode` only."""
    return has_kernel_for(op.name(), "CompositeImplicitAutograd")


@cache
def has_cpu_kernel(op: OpOverload) -> bool:
    """Whether PyTorch has a kernel of the op for CPUs. A few composite ops have one too, which rounds otherwise."""
    return has_kernel_for(op.name(), "CPU")


@cache
def has_parts(op: OpOverload) -> bool:
    """Whether the op's kernel, one for all devices, calls other ops through PyTorch, although it is no composite."""
    kernels = "CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional"
    if has_cpu_kernel(op):  # which runs then; most such ops have one
        return False
    return any(has_kernel_for(op.name(), kernel) for kernel in kernels)


@cache
def is_tracked(op: OpOverload) -> bool:
    """Whether PyTorch itself tells autograd about the op's views and writes."""
    return has_kernel_for(op.name(), "ADInplaceOrView")


@cache
def functional_form(op: OpOverload) -> OpOverload | None:
    """The overload of the same op that writes to nothing, and otherwise has the same arguments.

    For `aten.add_.Tensor` and `aten.add.out` it is `aten.add.Tensor`. None if there is no such overload, if the op is
    functional itself, or if it writes to a list of tensors.
    """
    written = written_arguments(op)
    lists = [a.name for a in op._schema.arguments if a.name in written and "List" in str(a.type)]
    if not written or lists or op in _UNANNOTATED_WRITES:
        return None
    namespace, _, name = op._schema.name.partition("::")
    in_place = is_in_place(op)
    if not in_place and not all(a.is_out for a in op._schema.arguments if a.name in written):
        return None  # it also returns results that it does not write to `out`
    packet = getattr(getattr(torch.ops, namespace), name[:-1] if in_place else name, None)
    if packet is None:
        return None
    outputs = () if in_place else written
    wanted = [(a.name, str(a.type)) for a in op._schema.arguments if a.name not in outputs]
    for overload_name in packet.overloads():
        candidate = getattr(packet, overload_name)
        arguments = [(a.name, str(a.type)) for a in candidate._schema.arguments]
        if arguments == wanted and not written_arguments(candidate):
            return candidate
    return None
