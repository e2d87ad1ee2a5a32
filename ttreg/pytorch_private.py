"""All private names of PyTorch that ttreg uses, with what each is for. If one is missing, an error names it.

PyTorch may change them at any time. So each is looked up when this module is imported, before anything depends on it.
Names that are slow to import are looked up by a function, at the first use.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from .errors import PyTorchError
from .versions import TORCH, require_torch

require_torch(torch.__version__)  # before the first name that an older one lacks

IS_2_14 = torch.__version__.startswith("2.14.")  # the oldest, some of whose kernels and shape functions are others


def _find(path: str) -> Any:
    """The object at a dotted path, such as `torch._C._dispatch_keys`; raises PyTorchError if there is none."""
    parts = path.split(".")
    found: Any = importlib.import_module(parts[0])
    for end, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            try:
                importlib.import_module(".".join(parts[:end]))
            except ImportError as error:
                raise _missing(path) from error
        if not hasattr(found, part):
            raise _missing(path)
        found = getattr(found, part)
    return found


def _missing(path: str) -> PyTorchError:
    return PyTorchError(
        f"ttreg needs {path}, which PyTorch {torch.__version__} does not have as ttreg knows it; ttreg is tested with "
        f"{TORCH.range}"
    )


# The classes of ops and of modes, and nested arguments; imported for annotations.
if TYPE_CHECKING:
    from torch._ops import HigherOrderOperator as HigherOrderOperator
    from torch._ops import OpOverload as OpOverload
    from torch._ops import OpOverloadPacket as OpOverloadPacket
    from torch.utils._python_dispatch import TorchDispatchMode as TorchDispatchMode
    from torch.utils._pytree import tree_any as tree_any
    from torch.utils._pytree import tree_flatten as tree_flatten
    from torch.utils._pytree import tree_leaves as tree_leaves
    from torch.utils._pytree import tree_map as tree_map
    from torch.utils._pytree import tree_map_only as tree_map_only
    from torch.utils._pytree import tree_unflatten as tree_unflatten
else:
    OpOverload = _find("torch._ops.OpOverload")
    OpOverloadPacket = _find("torch._ops.OpOverloadPacket")
    HigherOrderOperator = _find("torch._ops.HigherOrderOperator")
    TorchDispatchMode = _find("torch.utils._python_dispatch.TorchDispatchMode")
    tree_any = _find("torch.utils._pytree.tree_any")
    tree_flatten = _find("torch.utils._pytree.tree_flatten")
    tree_leaves = _find("torch.utils._pytree.tree_leaves")
    tree_map = _find("torch.utils._pytree.tree_map")
    tree_map_only = _find("torch.utils._pytree.tree_map_only")
    tree_unflatten = _find("torch.utils._pytree.tree_unflatten")
BaseHOP: Any = _find("torch._higher_order_ops.base_hop.BaseHOP")  # the base class of some operators

# Which kernels an op has: whether PyTorch composes it from other ops, and whether autograd or autocast handles it.
has_kernel = _find("torch._C._dispatch_has_kernel")
has_kernel_for = _find("torch._C._dispatch_has_kernel_for_dispatch_key")
all_op_names = _find("torch._C._dispatch_get_all_op_names")

# Dispatch keys: they tell an ordinary CPU tensor from others, and decide which layers of PyTorch a call passes.
dispatch_keys = _find("torch._C._dispatch_keys")
DispatchKey = _find("torch._C.DispatchKey")
DispatchKeySet = _find("torch._C.DispatchKeySet")
excluded_keys = _find("torch._C._dispatch_tls_local_exclude_set")
included_keys = _find("torch._C._dispatch_tls_local_include_set")
force_keys = _find("torch._C._ForceDispatchKeyGuard")
set_key_excluded = _find("torch._C._SetExcludeDispatchKeyGuard")
as_the_op_was_called = _find("torch._C._RestorePythonTLSSnapshot")
below_autograd = _find("torch._C._AutoDispatchBelowAutograd")

KEYS_UNDER_A_MODE: int = 0  # the included keys of a thread in which nothing but modes is active, as one number
for _key in (DispatchKey.BackendSelect, DispatchKey.ADInplaceOrView, DispatchKey.Python, DispatchKey.PythonTLSSnapshot):
    KEYS_UNDER_A_MODE |= DispatchKeySet(_key).raw_repr()

# What else autograd may do with a call: derivatives in forward mode, and hooks on the tensors that it saves.
_forward_ad = _find("torch.autograd.forward_ad")
_find("torch.autograd.forward_ad._current_level")
hooks_of_saved_tensors = _find("torch._C._autograd._top_saved_tensors_default_hooks")


def in_forward_ad() -> bool:
    """Whether tensors may carry tangents, for derivatives in forward mode."""
    return _forward_ad._current_level >= 0


# Modes: which are active, and how to switch them off.
disable_current_modes = _find("torch.utils._python_dispatch._disable_current_modes")
dispatch_modes = _find("torch.utils._python_dispatch._get_current_dispatch_mode_stack")
pop_mode = _find("torch.utils._python_dispatch._pop_mode")
push_mode = _find("torch.utils._python_dispatch._push_mode")
count_of_dispatch_modes = _find("torch._C._len_torch_dispatch_stack")
count_of_function_modes = _find("torch._C._len_torch_function_stack")
function_modes = _find("torch.overrides._get_current_function_mode_stack")
DefaultDevice: Any = _find("torch.utils._device.DeviceContext")
dispatch_mode_of = _find("torch._C._get_dispatch_mode")
ModeKey = _find("torch._C._TorchDispatchModeKey")
without_function_mode = _find("torch.overrides._pop_mode_temporarily")
DisableTorchFunction = _find("torch._C.DisableTorchFunction")
DisableTorchFunctionSubclass = _find("torch._C.DisableTorchFunctionSubclass")
DisableTorchDispatch = _find("torch._C._DisableTorchDispatch")
disabled_torch_function = _find("torch._C._disabled_torch_function_impl")

# The hooks of all modules and of all optimizers. `torch.optim` has no attribute for its module of this name.
HOOKS_OF_ALL: tuple[dict[int, Any], ...] = (
    _find("torch.nn.modules.module._global_forward_pre_hooks"),
    _find("torch.nn.modules.module._global_forward_hooks"),
    _find("torch.nn.modules.module._global_backward_pre_hooks"),
    _find("torch.nn.modules.module._global_backward_hooks"),
    *(
        hooks
        for name, hooks in vars(importlib.import_module("torch.optim.optimizer")).items()
        if name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
    ),
)
clear_transforms = _find("torch._functorch.pyfunctorch.temporarily_clear_interpreter_stack")

# Global switches that affect a call's result.
deterministic = _find("torch._C._get_deterministic_algorithms")
get_mkldnn_enabled = _find("torch._C._get_mkldnn_enabled")
set_mkldnn_enabled = _find("torch._C._set_mkldnn_enabled")

# Tensors: their C++ `data`, an error for C++ code that needs memory they do not have, how they print, lazily negated
# views, and how many hold a storage.
TensorBase: Any = _find("torch._C.TensorBase")
tensor_data: Any = _find("torch._C.TensorBase.data")
throw_on_mutable_data_ptr = _find("torch._C._set_throw_on_mutable_data_ptr")
add_suffixes = _find("torch._tensor_str._add_suffixes")
neg_view = _find("torch._neg_view")
# Which of PyTorch's kernels a convolution takes, from its arguments; only the metadata of the tensors counts.
select_conv_backend = _find("torch._C._select_conv_backend")
suggest_memory_format = _find("torch._prims_common.suggest_memory_format")
storage_use_count = _find("torch._C._storage_Use_Count")


HOOKS_OF_A_TENSOR = "_backward_hooks", "_post_accumulate_grad_hooks"
for _name in HOOKS_OF_A_TENSOR:
    _find(f"torch.Tensor.{_name}")


def hooks_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """The hooks that autograd calls with the tensor's gradient."""
    found = (getattr(tensor, name) for name in HOOKS_OF_A_TENSOR)
    return tuple(hook for hooks in found if hooks for hook in hooks.values())


# The stack frames that show a call of a module, and a backward pass; the node of autograd whose gradient is computed,
# and the number that the next node will have.
module_call: Any = _find("torch.nn.Module._call_impl")
run_backward: Any = _find("torch.autograd.graph._engine_run_backward")
autograd_node = _find("torch._C._current_autograd_node")
next_node_number = _find("torch.autograd._get_sequence_nr")

# What the layers of a transformer call for their attention, as an op that autocast knows.
native_multi_head_attention: Any = _find("torch._native_multi_head_attention")

# Functions that are replaced while a block is open, and TorchScript's table of built-in functions.
layers: Any = _find("torch._VF")
find_builtin = _find("torch.jit._builtins._find_builtin")
register_builtin = _find("torch.jit._builtins._register_builtin")

# A number that is another one after each write to a dict, on which the guards of `torch.compile` rely too.
dict_version = _find("torch._C._dynamo.guards.dict_version")


def _holders() -> tuple[int, int]:
    """How many holders a parameter's storage has without aliases, and how many it has with one view."""
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float32, device="cpu"))
    storage = parameter.untyped_storage()
    alone = storage_use_count(storage._cdata)
    view = parameter.view(2)
    with_view = storage_use_count(view.untyped_storage()._cdata)
    alias = parameter.data
    if not alone < with_view < storage_use_count(alias.untyped_storage()._cdata):
        raise _missing("torch._C._storage_Use_Count that counts each tensor of a storage")
    return alone, with_view


PARAMETERS_HOLDERS, VIEWS_HOLDERS = _holders()


def skip_frames_of(function: Any) -> None:
    """Make Dynamo skip a function and everything that it calls."""
    eval_frame = _find("torch._C._dynamo.eval_frame")
    skip = _find("torch._C._dynamo.eval_frame._FrameAction").SKIP
    strategy = _find("torch._C._dynamo.eval_frame._FrameExecStrategy")
    eval_frame.set_code_exec_strategy(function.__code__, strategy(skip, skip))


def eager_depth() -> int:
    """How many contexts of this thread let functions made by `torch.compile` run the code that they were made from.

    Under a dispatch mode, Dynamo looks at each frame only to skip it. That makes a model about four times slower, and
    raises under `fullgraph=True`. If PyTorch lacks this switch, everything else still works.
    """
    return getattr(_eager_of_thread(), "depth", 0)


def set_eager_depth(depth: int) -> None:
    """Set what `eager_depth` gives."""
    _eager_of_thread().depth = depth


def _eager_of_thread() -> Any:
    return getattr(
        importlib.import_module("torch._dynamo.eval_frame"), "_force_eager_nested_compile", SimpleNamespace()
    )


_FLAGS_OF_MODES = (
    "_is_in_torch_dispatch_mode",
    "_is_in_non_infra_torch_dispatch_mode",
    "_is_in_any_mode_without_ignore_compile_internals",
)
_of_modes = _find("torch.utils._python_dispatch")
_tell_of_modes = _find("torch.utils._python_dispatch.set_is_in_mode_without_ignore_compile_internals")


def mode_flags() -> tuple[bool, ...]:
    """What PyTorch has noted for the whole process of whether a mode is active, as `torch.compile` asks it."""
    return tuple(getattr(_of_modes, flag) for flag in _FLAGS_OF_MODES)


def set_mode_flags(flags: tuple[bool, ...]) -> None:
    """Set what `mode_flags` gives."""
    for name, flag in zip(_FLAGS_OF_MODES, flags, strict=True):
        setattr(_of_modes, name, flag)
    _tell_of_modes(flags[-1])


def decompositions() -> Any:
    """PyTorch's decompositions, by op."""
    return _find("torch._decomp.decomposition_table")


def fakes() -> Any:
    """The module of fake tensors, which have no values. It is slow to import."""
    return _find("torch._subclasses.fake_tensor")


def compiler() -> tuple[Any, Any, Any]:
    """`aot_autograd`, `make_boxed_func` and `TracingContext`, which a backend of `torch.compile` needs."""
    return (
        _find("torch._dynamo.backends.common.aot_autograd"),
        _find("torch._functorch.aot_autograd.make_boxed_func"),
        _find("torch._guards.TracingContext"),
    )


def op_db() -> Any:
    """PyTorch's own samples of its ops."""
    return _find("torch.testing._internal.common_methods_invocations.op_db")
