"""`DeviceTensor` in Python's and NumPy's hands."""

from __future__ import annotations

import copy
import ctypes
import math
import weakref

import numpy as np
import pytest
import torch

# To make a tensor of a tensor is what PyTorch warns of.
pytestmark = pytest.mark.filterwarnings("ignore:To copy construct:UserWarning")
PROGRAMS: list = []
FAULTY: list = []
X = torch.arange(12.0).reshape(3, 4) / 4


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_it_raises_what_it_raises_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def numpy_gives_the_values(tensor):
    array, transposed = tensor(X).numpy(), tensor(X).t().numpy()
    return array.tolist(), array.dtype.name, array.strides, transposed.tolist(), transposed.strides


@program
def numpy_shares_memory_both_ways(tensor):
    t = tensor(X)
    array = t.numpy()
    array[0] = 7
    t += 1
    view = t.view(12)
    view[3] = -1
    array[2, 0] = 5
    return array.tolist(), t.tolist(), view.tolist(), (t + 0).tolist(), t.sum().item()


@faulty
def numpy_of_a_leaf_that_requires_grad(tensor):
    return tensor(X).requires_grad_().numpy()


@faulty
def numpy_of_a_result_that_requires_grad(tensor):
    return (tensor(X).requires_grad_() * 2).numpy()


@program
def numpy_by_force(tensor):
    return (tensor(X).requires_grad_() * 2).numpy(force=True).tolist()


@program
def asarray_and_array(tensor):
    t = tensor(X)
    return np.asarray(t).tolist(), np.asarray(t, dtype=np.float64).dtype.name, np.array(t).tolist()


@faulty
def asarray_of_what_requires_grad(tensor):
    return np.asarray(tensor(X).requires_grad_())


@program
def numpys_functions_take_it(tensor):
    t = tensor(X)
    return [
        np.maximum(t, 1).tolist(),
        np.concatenate([t, t]).tolist(),
        np.stack([t, t.t().t()]).shape,
        np.where(t.numpy() > 1, 1, 0).tolist(),
        (np.float32(2) * t).tolist(),
    ]


@faulty
def an_array_on_the_left_is_refused(tensor):
    return np.ones((3, 4), dtype=np.float32) * tensor(X)


@program
def it_indexes_arrays_and_lists(tensor):
    three = tensor(torch.tensor(3, dtype=torch.int32))
    indices = tensor(torch.tensor([1, 2], dtype=torch.int32))
    return np.arange(20)[indices].tolist(), list("abcde")[three], len(range(three)), np.arange(5)[three].item()


@program
def python_numbers(tensor):
    element = tensor(X)[1, 2]
    return element.item(), float(element), int(element), bool(element), complex(element), math.sqrt(element)


@program
def lists_of_numbers_become_tensors(tensor):
    a, i, one = tensor(torch.tensor(2.5)), tensor(torch.tensor(2, dtype=torch.int32)), tensor(torch.ones(1))
    losses = [a, a * 2, tensor(X).sum()]
    made = [torch.tensor(losses), torch.as_tensor(losses), torch.asarray(losses), a.new_tensor(losses)]
    mixed = [
        torch.tensor([[a, i], [1, 2.0]]),
        torch.tensor([i, i]),
        torch.tensor([one, one]),
        torch.FloatTensor(losses),
    ]
    return made, mixed, np.array([a, i]).tolist(), [torch.tensor(a + 0).item(), torch.tensor([a.item()])]


@program
def item_has_pythons_type(tensor):
    values = [1.5, True, 2, float("nan"), float("-inf"), -0.0]
    items = [tensor(torch.tensor(v).to(torch.int32) if type(v) is int else torch.tensor(v)).item() for v in values]
    return items, [type(item) for item in items]


@faulty
def item_of_many(tensor):
    return tensor(X).item()


@faulty
def truth_of_many(tensor):
    return bool(tensor(X))


@program
def conditions_in_python(tensor):
    t = tensor(X)
    return ["more" if row.sum() > 3 else "less" for row in t], bool((t == t).all()), 1.25 in t, 77.0 in t


@program
def length_iteration_and_unpacking(tensor):
    t = tensor(X)
    a, b, c = t
    return len(t), [row.tolist() for row in t], a.tolist(), c.tolist(), [r.tolist() for r in reversed(t)], b.shape


@faulty
def length_of_a_number(tensor):
    return len(tensor(X)[0, 0])


@faulty
def iteration_over_a_number(tensor):
    return list(tensor(X)[0, 0])


@program
def pythons_reductions(tensor):
    flat = tensor(X).view(12)
    return sum(tensor(X)).tolist(), max(flat).item(), [v.item() for v in sorted(flat, reverse=True)][:3]


@program
def indexing(tensor):
    t = tensor(X)
    return [
        t[1].tolist(),
        t[-1, -1].item(),
        t[:, 1:3].tolist(),
        t[::2, ::3].tolist(),
        t[..., None].shape,
        t[t > 1].tolist(),
        t[torch.tensor([2, 0])].tolist(),
        t[tensor(torch.tensor([2, 0], dtype=torch.int32))].tolist(),
        t[[0, 1], [1, 2]].tolist(),
        t[torch.tensor([True, False, True])].tolist(),
        t[np.array([0, 2])].tolist(),
        t[1:1].shape,
        t[None, True].shape,
    ]


@program
def assignment_by_index(tensor):
    t = tensor(X)
    t[0] = 5
    t[t > 2] = 0
    t[:, 1] = tensor(X)[:, 0]
    t[torch.tensor([1])] = tensor(X)[:1]
    t[2, 3] = tensor(X)[1, 1]
    t[::2, 2:] = torch.ones(2)
    return t.tolist(), (t + 0).tolist()


@faulty
def index_out_of_range(tensor):
    return tensor(X)[5]


@faulty
def too_many_indices(tensor):
    return tensor(X)[0, 0, 0]


@program
def it_is_a_tensor(tensor):
    t = tensor(X)
    return [
        isinstance(t, torch.Tensor),
        isinstance(t, torch.FloatTensor),
        isinstance(t, torch.nn.Parameter),
        torch.is_tensor(t),
        t.type(),
        str(t.device),
        t.get_device(),
        str(t.layout),
        (t.is_cpu, t.is_cuda, t.is_meta, t.is_sparse, t.is_quantized, t.is_nested, t.is_inference()),
        (t.dim(), t.ndim, t.numel(), t.element_size(), t.itemsize, t.nbytes, t.size(), t.stride(), t.storage_offset()),
        (t.is_contiguous(), t.t().is_contiguous(), t.t().stride(), t[1:, 1:].storage_offset()),
        (t.is_floating_point(), t.is_complex(), t.is_signed(), t.is_conj(), t.is_neg(), t.is_pinned()),
        (t.is_leaf, t.grad_fn, t.grad, t.requires_grad, t.retains_grad, t.output_nr, t._version),
        (t._is_view(), t.view(12)._is_view(), t.view(12)._base is t, t.is_set_to(t.view(3, 4)), t.is_set_to(tensor(X))),
    ]


@program
def storage_and_pointers(tensor):
    t = tensor(X)
    return [
        t.untyped_storage().nbytes(),
        t.untyped_storage().tolist()[:8],
        t[1].data_ptr() - t.data_ptr(),
        t.untyped_storage().data_ptr() == t.view(12).untyped_storage().data_ptr() == t.data_ptr(),
    ]


@program
def writing_through_a_pointer(tensor):
    t = tensor(X)
    before = t + 1
    memory = (ctypes.c_float * 12).from_address(t.data_ptr())
    memory[0] = 42
    once = t + 0
    memory[1] = 43
    return before.tolist(), once.tolist(), (t + 0).tolist(), t.tolist()


@program
def dlpack_shares_memory(tensor):
    t = tensor(X)
    other, array = torch.from_dlpack(t), np.from_dlpack(t)
    other[0] = 3
    once = (t + 0).tolist()
    t[1] = 4
    return once, (t + 0).tolist(), other.tolist(), array.tolist(), t.__dlpack_device__()


@faulty
def dlpack_of_what_requires_grad(tensor):
    return torch.from_dlpack(tensor(X).requires_grad_())


@program
def it_is_hashed_by_identity(tensor):
    t, u = tensor(X), tensor(X)
    names = {t: "t", u: "u"}
    return names[t], names[u], len({t, u, t}), hash(t) == id(t), weakref.ref(t)() is t


@program
def attributes_stay(tensor):
    t = tensor(X)
    t.tag = "mine"
    return t.tag, t.add_(1).tag, copy.copy(t).tag, hasattr(t + 1, "tag")


@program
def copy_of_a_tensor_shares_memory(tensor):
    t = tensor(X)
    copied = copy.copy(t)
    copied += 1
    return t, copied, t + 0
