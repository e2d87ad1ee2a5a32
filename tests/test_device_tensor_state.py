"""`DeviceTensor`s that are saved, copied, made parameters, given other data, or loaded into modules."""

from __future__ import annotations

import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.multiprocessing  # gives ForkingPickler its reductions of tensors
from torch import nn

import ttreg

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


def saved_and_loaded(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, **options)


@program
def saved_tensors_keep_their_aliases(tensor):
    t = tensor(X)
    loaded = saved_and_loaded({"t": t, "view": t.view(12), "row": t[1], "other": tensor(X)})
    loaded["view"][5] = 9
    return loaded


@program
def saved_parameters_are_parameters(tensor):
    t = tensor(X)
    p, q, r = saved_and_loaded([nn.Parameter(t), nn.Parameter(t, requires_grad=False), t.clone().requires_grad_()])
    kinds = [isinstance(value, nn.Parameter) for value in (p, q, r)]
    return kinds, [value.requires_grad for value in (p, q, r)], r.is_leaf, p, q, r


@program
def a_saved_result_is_a_leaf_when_loaded(tensor):
    loaded = saved_and_loaded(tensor(X).requires_grad_() * 2)
    return loaded.requires_grad, loaded.is_leaf, loaded


@program
def what_is_loaded_is_plain(tensor):
    t = tensor(X)
    return type(saved_and_loaded(t)).__name__, type(pickle.loads(pickle.dumps(t))).__name__


@program
def pickles(tensor):
    t = tensor(X)
    pair = pickle.loads(pickle.dumps([t, t.t()[1:]]))
    pair[1].zero_()
    return pair, pickle.loads(pickle.dumps(nn.Parameter(t))).requires_grad


@program
def sent_to_another_process(tensor):
    return pickle.loads(ForkingPickler.dumps(tensor(X)))


@program
def deep_copies_alias_each_other_and_not_the_original(tensor):
    t = tensor(X)
    first, view, again = copy.deepcopy([t, t.view(12), t])
    view.add_(1)
    return t, first, view, again is first


@program
def a_deep_copy_keeps_gradient_and_attributes(tensor):
    t = tensor(X).requires_grad_()
    t.note = ["mine"]
    (t * t).sum().backward()
    copied = copy.deepcopy(t)
    copied.grad.zero_()
    return copied.requires_grad, copied.is_leaf, copied.grad, t.grad, copied.note, copied.note is t.note


@program
def a_deep_copy_of_a_parameter_is_one(tensor):
    copied = copy.deepcopy(nn.Parameter(tensor(X)))
    return isinstance(copied, nn.Parameter), copied.requires_grad, copied


@program
def a_deep_copy_of_a_result_without_gradient(tensor):
    return copy.deepcopy(tensor(X) * 2)


@faulty
def a_deep_copy_of_a_result_with_gradient(tensor):
    return copy.deepcopy(tensor(X).requires_grad_() * 2)


@program
def a_deep_copied_model(tensor):
    model = nn.Linear(4, 2)
    nn.init.constant_(model.weight, 0.5)
    nn.init.zeros_(model.bias)
    model.register_buffer("shift", tensor(X)[0])
    twin = copy.deepcopy(model)
    twin.shift.add_(1)
    return model(tensor(X)), twin(tensor(X)), model.shift, twin.shift


@program
def a_parameter_made_of_it(tensor):
    p = nn.Parameter(tensor(X))
    (p * p).sum().backward()
    return isinstance(p, nn.Parameter), p.requires_grad, p.is_leaf, p.grad, p


@program
def a_module_holds_it(tensor):
    module = nn.Module()
    module.register_buffer("shift", tensor(X))
    module.weight = nn.Parameter(tensor(X))
    names = [name for name, _ in module.named_parameters()]
    return names, list(module.state_dict()), module.state_dict()["shift"], module.state_dict()["weight"]


@program
def data_of_a_parameter_is_written(tensor):
    p = nn.Parameter(tensor(X))
    before = p * 1
    p.data.mul_(2)
    p.data[0] = 1
    return before, p, p * 1, p._version, p.data.requires_grad


@program
def data_is_replaced_by_device_data(tensor):
    t, other = tensor(torch.zeros(3)), tensor(X)
    t.data = other
    t[0] = 5
    other += 1
    return t.shape, t, other, t + 0


@program
def data_is_replaced_by_plain_data(tensor):
    t, plain = tensor(X), torch.ones(2)
    t.data = plain
    plain[0] = 3
    t.add_(1)
    return t.shape, t, plain, t + 0


@program
def data_is_replaced_by_another_dtype(tensor):
    t = tensor(X)
    t.data = t.data.bfloat16()
    u = tensor(X)
    u.data = u.double()
    return t, u, t.dtype, (t + 1).dtype, u * 2


@program
def views_of_replaced_data_keep_the_old(tensor):
    t = tensor(X)
    view = t.view(12)
    t.data = tensor(X) * 2
    view.add_(1)
    return t, view


def test_plain_data_is_replaced_by_device_data_outside_the_block(device):
    inside, after = torch.zeros(3, 4), torch.zeros(3, 4)
    with device as session:
        on_device = session.to_device(X) * 3
        with ThreadPoolExecutor(1) as another_thread:
            another_thread.submit(setattr, inside, "data", on_device).result()
    after.data = on_device
    assert torch.equal(inside, X * 3)
    assert torch.equal(after.add_(1), X * 3 + 1)
    assert type(after) is torch.Tensor


def test_plain_data_is_replaced_by_device_data(device):
    parameter, plain = nn.Parameter(X.clone()), torch.zeros(3)
    with device as session:
        product = parameter * 1
        parameter.data = session.to_device(X) * 3
        plain.data = on_device = session.to_device(X)
        plain[0] = 5
        on_device.mul_(2)
        results = [product, parameter * 1, plain + 0, on_device + 0]
        (parameter * parameter).sum().backward()
    expected = X.clone()
    expected[0] = 5
    expected *= 2
    assert [r.tolist() for r in results] == [v.tolist() for v in (X, X * 3, expected, expected)]
    assert plain.tolist() == on_device.tolist() == expected.tolist()
    assert parameter.grad.tolist() == (X * 6).tolist()
    assert not isinstance(plain, ttreg.DeviceTensor)


@program
def gradients_are_assigned(tensor):
    p, q = nn.Parameter(X.clone()), tensor(X).requires_grad_()
    p.grad = tensor(X)
    p.grad.add_(1)
    q.grad = X.clone()
    first = q.grad
    q.grad = tensor(X) * 2
    (q * 3).sum().backward()
    (p * 3).sum().backward()
    return p.grad, first, q.grad


@faulty
def a_gradient_of_another_shape_is_refused(tensor):
    p = nn.Parameter(X.clone())
    p.grad = tensor(X)[0]


@faulty
def a_gradient_of_another_dtype_is_refused(tensor):
    t = tensor(X).requires_grad_()
    t.grad = tensor(X).bfloat16()


@program
def gradients_are_switched_on_and_off(tensor):
    t = tensor(X)
    t.requires_grad = True
    return t.requires_grad, t.is_leaf, t.grad, (t * 2).requires_grad, t.requires_grad_(False).requires_grad


@faulty
def integers_have_no_gradients(tensor):
    return tensor(torch.ones(3, dtype=torch.int32)).requires_grad_()


@program
def memory_is_shared_between_processes(tensor):
    t = tensor(X)
    shared = t.share_memory_()
    t.add_(1)
    return shared is t, t.is_shared(), t, t + 1


@program
def a_model_changes_its_dtype(tensor):
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(tensor(X)[:2])
        model.bias.zero_()
    model.to(torch.bfloat16)
    low = model(tensor(X).bfloat16())
    model.float()
    middle = model(tensor(X))
    model.double()
    return low, middle, model.weight, model(X.double())


@program
def state_is_loaded(tensor):
    model = nn.Linear(4, 2)
    before = model(tensor(X)).shape
    model.load_state_dict({"weight": tensor(X)[:2], "bias": tensor(X)[0, :2]})
    first = model(tensor(X))
    model.load_state_dict({"weight": X[1:], "bias": X[1, :2]})
    return before, first, model(tensor(X)), dict(model.state_dict())


@program
def state_is_loaded_by_assignment(tensor):
    model = nn.Linear(4, 2)
    model.load_state_dict({"weight": tensor(X)[:2], "bias": tensor(X)[0, :2]}, assign=True)
    return model(tensor(X)), isinstance(model.weight, nn.Parameter), model.weight.requires_grad, model.weight


@program
def tensors_are_swapped(tensor):
    t, u = tensor(X), tensor(X) + 1
    torch.utils.swap_tensors(t, u)
    t.mul_(2)
    return t, u, t + u
