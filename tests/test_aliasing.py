"""Views and in-place ops: a write through any alias is seen through all, wherever each lives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
def test_aliases_are_those_of_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_the_error_is_that_of_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def a_view_written_changes_its_base(tensor):
    t = tensor(X)
    v = t.view(12)
    v.add_(100)
    return t, v, t + 1, v + 1


@program
def a_base_written_changes_views_of_views(tensor):
    t = tensor(X)
    v = t.view(12).view(4, 3).t()
    row = v[1:]
    before = [v + 1, row + 1]
    t.mul_(2)
    row.add_(5)
    t += 1
    return before, t, v, row, row + 1, v @ v.t()


@program
def a_view_written_by_the_host_changes_what_the_device_holds(tensor):
    t = tensor(X)
    v = t.view(12)
    before = t + 1
    v.cumsum_(0)
    return before, t, v, t + 1, v + 1


@program
def slices_are_written(tensor):
    t = tensor(X)
    t[1:3].mul_(3)
    t[:, ::2].add_(t[:, 1::2])
    row = t[0]
    row.zero_()
    t.select(1, 2).fill_(9)
    t.diagonal().fill_(8)
    t.narrow(0, 1, 1).neg_()
    t.unfold(1, 2, 2)[0, 0].zero_()
    return t, row, t + 1, row + 1


@program
def rows_are_written_one_by_one(tensor):
    t = tensor(X)
    for row in t:
        row.add_(1)
    for i in range(3):
        t[i] *= 2
        t[i, i] = 0
    return t, t + 1


@program
def a_transposed_tensor_is_written(tensor):
    t = tensor(X)
    v = t.t()
    v.add_(v)
    v.mul_(2)
    row = v[1]
    row.add_(1)
    return t, v, row, t + 1, v + t.t()


@program
def values_computed_before_a_write_keep_theirs(tensor):
    t = tensor(X)
    v = t.t()
    first, second = v + 1, t + 1
    t.mul_(2)
    third = v + 1
    v.sub_(1)
    return first, second, third, t + 0, v, t


@program
def a_plain_base_is_written_by_a_device_operand(tensor):
    plain = X.clone()
    v = plain.view(12)
    first = plain + tensor(X)
    v.add_(tensor(X).view(12))
    return first, plain, v, plain + tensor(X)


@program
def a_view_outlives_its_base(tensor):
    t = tensor(X)
    v = t.view(12)[3:6]
    del t
    v.add_(1)
    return v, v + 1


@program
def pieces_are_written(tensor):
    t = tensor(X)
    left, right = t.chunk(2, 1)
    left.add_(10)
    middle = t.unbind(0)[1]
    middle.mul_(2)
    first, rest = t.split([1, 3], 1)
    rest.zero_()
    return t, left, right, middle, first, rest, left + 1, middle + 1, t + 1


@program
def reshapes_alias_only_where_they_can(tensor):
    t = tensor(X)
    same, flat, copied = t.reshape(12), t.flatten(), t.t().reshape(12)
    same[0], flat[1], copied[2] = 9, 8, 100
    return t, same, flat, copied


@program
def contiguous_and_to_alias_only_where_they_can(tensor):
    t = tensor(X)
    results = [t.contiguous(), t.t().contiguous(), t.float(), t.to(torch.float32), t.to(torch.float32, copy=True)]
    for number, result in enumerate(results):
        result[0, 0] = number + 20
    return t, results


@program
def clones_do_not_alias(tensor):
    t = tensor(X)
    c = t.clone()
    c.add_(1)
    t.mul_(0)
    return t, c


@program
def detached_tensors_alias(tensor):
    t = tensor(X).requires_grad_()
    v = t.detach()
    v.add_(1)
    return t, v, v + 1, v.requires_grad, t._version, v._version


@program
def expanded_tensors_see_writes(tensor):
    t = tensor(torch.ones(1, 3))
    e = t.expand(4, 3)
    t.add_(1)
    return e, e + 1, e @ e.t(), e.stride()


@faulty
def expanded_tensors_are_not_written(tensor):
    tensor(torch.ones(1, 3)).expand(4, 3).add_(1)


@faulty
def a_tensor_is_not_added_to_its_own_transpose_in_place(tensor):
    t = tensor(X[:, :3].contiguous())
    t.add_(t.t())


@program
def a_tensor_is_its_own_operand(tensor):
    t = tensor(X)
    t.mul_(t)
    t.add_(t.view(3, 4))
    torch.add(t, t, out=t)
    return t, t + 1


@program
def the_bits_are_another_dtype(tensor):
    t = tensor(X)
    v = t.view(torch.int32)
    before = v.clone()
    t.add_(1)
    after = v + 1
    v[0].zero_()
    low = t.bfloat16()
    bits = low.view(torch.int16)
    low.add_(1)
    halves = t.view(torch.bfloat16)
    halves[1].fill_(1)
    return before, after, t, v, bits, halves, halves.shape, low.view(torch.float32).shape, t + 1


@program
def complex_views_alias(tensor):
    t = tensor(X.view(3, 2, 2))
    c = torch.view_as_complex(t)
    c.mul_(2)
    whole = torch.complex(tensor(X), tensor(X))
    whole.real.add_(1)
    return t, t + 1, str(c), str(whole), whole.imag


@program
def strided_windows_alias(tensor):
    t = tensor(X)
    window = t.as_strided((2, 2), (4, 1), 5)
    window.add_(1)
    t.add_(1)
    return t, window, window + 1


@program
def numpy_writes_while_the_device_computes(tensor):
    t = tensor(X)
    v = t.t()
    array = t.numpy()
    first = v + 1
    array[:] = 7
    second = v + 1
    v.add_(1)
    late = t.view(12)
    late[0] = 3
    array[1] = 5
    return first, second, t, v, late, late + 1, array.tolist()


@program
def lists_of_tensors_are_written(tensor):
    tensors = [tensor(X), X.clone(), tensor(X).bfloat16()]
    torch._foreach_add_(tensors, 1)
    torch._foreach_mul_(tensors, [1.0, 2.0, 3.0])
    t = tensor(X)
    before = t + 1
    torch._foreach_add_([t.view(12), t[0]], 1)
    torch._foreach_copy_([t[1], t[2]], [X[0], tensor(X[0])])
    return tensors, torch._foreach_add(tensors, tensors), before, t, t + 1


@program
def indexed_writes(tensor):
    t = tensor(X)
    t.index_put_((torch.tensor([0, 1]),), tensor(torch.tensor(5.0)), accumulate=True)
    t.index_add_(0, torch.tensor([0]), tensor(X)[:1])
    t.scatter_(1, torch.zeros(3, 1, dtype=torch.long), 7.0)
    t.masked_fill_(tensor(X) > 2, -1)
    t.index_fill_(0, torch.tensor([2]), 3)
    t[t == 7] = 1
    return t, t + 1


@program
def batches_of_matrices_see_writes(tensor):
    t = tensor(torch.arange(24.0).view(2, 3, 4))
    before = torch.bmm(t, t.transpose(1, 2))
    t[0].zero_()
    return before, torch.bmm(t, t.transpose(1, 2))


@program
def statistics_of_a_batch_norm_are_written(tensor):
    norm = nn.BatchNorm1d(4, momentum=0.5)
    norm.running_mean, norm.running_var = tensor(torch.zeros(4)), tensor(torch.ones(4))
    norm.train()
    norm(tensor(X * 4))
    first = norm.running_mean.clone()
    norm(tensor(X * 4))
    return first, norm.running_mean, norm.running_var, norm.num_batches_tracked
