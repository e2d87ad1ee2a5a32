"""In-place ops, `out=`, `copy_`, `resize_` and `set_` on tensors of the device."""

from __future__ import annotations

import pytest
import torch

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
def test_the_result_is_that_of_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_the_error_is_that_of_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def operators_in_place(tensor):
    t = tensor(X)
    same = t
    t += 1
    t -= tensor(X)
    t *= 2
    t /= 4
    t **= 2
    t //= 0.125
    t %= 5
    return t is same, t, t + 0


@program
def an_in_place_op_returns_its_tensor(tensor):
    t = tensor(X)
    return t.add_(1) is t, t.cumsum_(0) is t, t.t_() is t, t.zero_() is t


@program
def an_in_place_op_keeps_the_dtype(tensor):
    t = tensor(X.bfloat16())
    t.add_(tensor(X))
    t.mul_(1.5)
    u = tensor(torch.arange(6, dtype=torch.int32))
    u.add_(2)
    u.mul_(tensor(torch.arange(6, dtype=torch.int32)))
    v = tensor(X)
    v.copy_(v > 1)
    return t, u, v, t + 0, u + 0, v + 0


@faulty
def a_float_is_not_added_to_integers_in_place(tensor):
    tensor(torch.ones(3, dtype=torch.int32)).add_(1.5)


@faulty
def floats_are_not_added_to_integers_in_place(tensor):
    tensor(torch.ones(3, dtype=torch.int32)).add_(tensor(torch.ones(3)))


@faulty
def an_in_place_op_does_not_grow_its_tensor(tensor):
    tensor(torch.ones(3)).add_(tensor(torch.ones(2, 3)))


@program
def out_is_written_and_returned(tensor):
    out = tensor(torch.zeros(3, 4))
    view = out.view(12)
    result = torch.add(tensor(X), tensor(X), out=out)
    return result is out, out, view, out + 1


@program
def a_plain_out_is_written(tensor):
    out = torch.zeros(3, 4)
    view = out.view(12)
    result = torch.add(tensor(X), 1, out=out)
    return result is out, type(out) is torch.Tensor, out, view


@program
def a_part_of_a_tensor_is_out(tensor):
    base = tensor(torch.zeros(6, 4))
    part = base[3:]
    torch.add(tensor(X), tensor(X), out=part)
    return base, part, base + 1


@program
def a_transposed_out_keeps_its_strides(tensor):
    out = tensor(torch.zeros(4, 3)).t()
    torch.add(tensor(X), tensor(X), out=out)
    return out, out.t(), out + 0


@program
def an_empty_out_is_resized(tensor):
    out, part = tensor(torch.zeros(0)), tensor(torch.zeros(1))[:0]
    torch.add(tensor(X), tensor(X), out=out)
    torch.mm(tensor(X), tensor(X).t(), out=part)
    return out, part, out + 1, part + 1


@program
def an_out_of_another_dtype_is_cast_to(tensor):
    wide, low = tensor(torch.zeros(3, 4)).double(), tensor(torch.zeros(3, 4)).bfloat16()
    torch.add(tensor(X), tensor(X), out=wide)
    torch.add(tensor(X), tensor(X), out=low)
    return wide, low, low + 1


@faulty
def an_out_that_cannot_hold_the_result_is_refused(tensor):
    torch.add(tensor(X), tensor(X), out=tensor(torch.zeros(3, 4, dtype=torch.int32)))


@program
def several_outs(tensor):
    values, indices = tensor(torch.zeros(3)), torch.zeros(3, dtype=torch.int64)
    result = torch.max(tensor(X), 1, out=(values, indices))
    return result[0] is values, result[1] is indices, values, indices, values + 1


@program
def out_is_an_operand_too(tensor):
    t = tensor(X)
    torch.mul(t, t, out=t)
    torch.add(t, 1, out=t.view(3, 4))
    torch.sub(t, tensor(X), out=t)
    return t, t + 1


COPIES = {
    "same dtype": (lambda: torch.zeros(3, 4), lambda: X),
    "from bfloat16, broadcast": (lambda: torch.zeros(3, 4), lambda: X[0].bfloat16()),
    "to int32": (lambda: torch.zeros(3, 4, dtype=torch.int32), lambda: X * 4),
    "from int64": (lambda: torch.zeros(3, 4), lambda: torch.arange(4)),
    "to int64": (lambda: torch.zeros(3, 4, dtype=torch.int64), lambda: X * 4),
    "to bool": (lambda: torch.zeros(3, 4, dtype=torch.bool), lambda: X),
    "from float64": (lambda: torch.zeros(3, 4), lambda: X.double() / 3),
    "from a number": (lambda: torch.zeros(3, 4), lambda: torch.tensor(5.0)),
}


@pytest.mark.parametrize("source_on_device", [True, False], ids=["from device", "from plain"])
@pytest.mark.parametrize("target_on_device", [True, False], ids=["to device", "to plain"])
@pytest.mark.parametrize("name", COPIES)
def test_copies_in_all_directions(name, source_on_device, target_on_device, same_as_cpu):
    make_target, make_source = COPIES[name]

    def place(tensor, plain, on_device):
        carried = plain.dtype not in (torch.int64, torch.float64)
        return tensor(plain) if on_device and carried else plain.clone()

    def copying(tensor):
        target = place(tensor, make_target(), target_on_device)
        source = place(tensor, make_source(), source_on_device)
        view = target.t()
        before = target + 0
        result = target.copy_(source)
        source.zero_()
        part = target.clone()
        part[1:].copy_(place(tensor, make_target(), source_on_device)[:2])
        part.t().copy_(view)
        return result is target, before, target, view, part, target.clone().copy_(target, non_blocking=True)

    same_as_cpu(copying)


@faulty
def a_copy_of_another_shape_is_refused(tensor):
    tensor(X).copy_(tensor(torch.ones(5)))


@program
def metadata_is_changed_in_place(tensor):
    t = tensor(X)
    view = t.view(12)
    steps = [t.t_(), t.unsqueeze_(0), t.squeeze_(), t.transpose_(0, 1), t.swapaxes_(0, 1), t.swapdims_(0, 1)]
    view.add_(1)
    t.add_(torch.ones(4))
    return [step is t for step in steps], t, view, t + 1, view + 1, t.is_contiguous()


@program
def a_tensor_is_strided_in_place(tensor):
    t = tensor(X)
    t.as_strided_((2, 2), (1, 2), 1)
    t.add_(1)
    return t, t + 1, t.storage_offset()


@program
def a_tensor_shrinks_and_grows_back(tensor):
    t = tensor(X)
    view = t.view(12)
    t.resize_(2, 3)
    small = t.clone()
    t.add_(1)
    t.resize_(3, 4)
    t.resize_as_(torch.zeros(4, 3))
    return small, t, view, t + 1, t.untyped_storage().nbytes()


@program
def a_tensor_grows_past_its_memory(tensor):
    t = tensor(X)
    view = t.view(12)
    t.resize_(5, 4)
    t[3:] = 1
    t[:3].add_(1)
    return t, view, t + 1, view + 1, t.untyped_storage().nbytes()


@program
def set_takes_over_another_tensors_memory(tensor):
    t, other, plain, u = tensor(X), tensor(torch.ones(2)), torch.ones(2), tensor(X)
    t.set_(other)
    other.add_(1)
    t.add_(1)
    u.set_(plain)
    plain.add_(1)
    u.add_(1)
    return t, other, u, plain, t + 0, u + 0


@program
def set_takes_over_a_storage(tensor):
    t, plain = tensor(X), torch.arange(6.0)
    t.set_(plain.untyped_storage(), 0, (2, 3), (3, 1))
    plain.add_(1)
    e = tensor(X)
    e.set_()
    return t, plain, t + 1, e.shape


@program
def a_plain_tensor_takes_over_device_memory(tensor):
    t, other = X.clone(), tensor(torch.ones(2))
    t.set_(other)
    other.add_(1)
    t.add_(1)
    return t, other, t + 0, other + 0


@program
def fills(tensor):
    t = tensor(X)
    filled = [t.zero_().clone(), t.fill_(3).clone(), t.fill_(tensor(torch.tensor(2.0))).clone()]
    fresh = torch.empty_like(t).fill_(1)
    return filled, fresh, t.new_empty(2).copy_(t[0, :2])


@program
def slices_written_to_a_cache(tensor):
    cache = torch.zeros(3, 5, 4, dtype=torch.float32)
    first = cache[:, :1]
    sums = []
    for step in range(3):
        cache.index_copy_(1, torch.tensor([step, 4]), tensor(torch.full((3, 2, 4), step + 1.0)))
        sums.append(cache.sum().clone())
    return cache, first, sums, cache.index_copy(0, torch.tensor([1, 1]), tensor(torch.rand(2, 5, 4) * 0))
