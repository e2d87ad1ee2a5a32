"""Grad modes, inference mode and autocast do what they do on CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
PROGRAMS: list = []
FAULTY: list = []


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_modes_do_what_they_do_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_modes_refuse_what_they_refuse_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


def exact_linear():
    linear = nn.Linear(4, 6)
    with torch.no_grad():
        linear.weight.copy_(X)
        linear.bias.fill_(1)
    return linear


def traits(*tensors):
    return [(t.requires_grad, t.is_leaf, t.is_inference(), t.grad_fn is None, t.dtype) for t in tensors]


@program
def grad_is_switched_off_and_on(tensor):
    t = tensor(X).requires_grad_()
    with torch.set_grad_enabled(False):
        off = t * 2
        with torch.enable_grad():
            on = t * 2
        view = t[1:]
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    off_too = t * 2
    torch.set_grad_enabled(True)
    (on.sum() + (t * off).sum()).backward()
    return traits(off, on, off_too, view), before, t.grad


@program
def functions_are_decorated(tensor):
    @torch.no_grad()
    def without(x):
        return x * 2

    @torch.inference_mode()
    def inferred(x):
        return x * 2, x[1:]

    t = tensor(X).requires_grad_()
    return traits(without(t), *inferred(t))


@program
def inference_tensors_stay_so(tensor):
    t = tensor(X).requires_grad_()
    with torch.inference_mode():
        y = t * 2
        inside = traits(t, y, y[0], y.clone(), t[0], tensor(X), torch.ones(3), y.to(torch.bfloat16))
        y.add_(1)
        y[1:3].mul_(2)
        with torch.inference_mode(False):
            normal = traits(t * 3, y.clone(), y[0], torch.ones(3))
    after = traits(y, y.clone(), y[0], y * 2)
    (t * y.clone()).sum().backward()
    return inside, normal, after, y, t.grad


@program
def ordinary_tensors_stay_so_in_inference_mode(tensor):
    t, resized, filled, turned, assigned = (tensor(X) for _ in range(5))
    with torch.inference_mode():
        views = [t[1:], t.view(-1), t.detach(), t.expand(2, 6, 4), *t.unbind(), t.diagonal(), t.data, t.reshape(4, 6)]
        resized.resize_(3, 3)
        filled.set_(torch.ones(3))
        turned.t_()
        assigned.data = t[1:]
        t[0].add_(1)
        parameter = nn.Parameter(t)
    changed = [resized, filled, turned, assigned]
    for other in changed:
        other.mul_(2)
    return traits(*views, *changed, parameter), views, changed, parameter


@program
def models_infer(tensor):
    model = exact_linear().eval()
    with torch.inference_mode():
        y = F.relu(model(tensor(X)))
    with torch.no_grad():
        z = F.relu(model(tensor(X)))
    return traits(y, z), y, z, torch.equal(y, z)


@program
def leaves_change_without_grad(tensor):
    t = tensor(X).requires_grad_()
    with torch.no_grad():
        t.sub_(1)
        t[0] = 5
        t.data.mul_(2)
        t.copy_(tensor(X) + t)
    (t * t).sum().backward()
    return traits(t), t, t.grad


@program
def requires_grad_is_set_and_unset(tensor):
    t = tensor(X)
    t.requires_grad = True
    y = t * 2
    detached = y.detach().requires_grad_()
    t.requires_grad_(False)
    z = t * 3
    copy = detached.clone().detach_()
    return traits(t, y, detached, z, copy)


@program
def frozen_layers_get_no_gradients(tensor):
    model = nn.Sequential(exact_linear(), nn.ReLU(), nn.Linear(6, 2, bias=False))
    with torch.no_grad():
        model[2].weight.copy_(X.reshape(2, 12)[:, :6])
    model[0].requires_grad_(False)
    model(tensor(X)).sum().backward()
    return [p.grad for p in model.parameters()]


@program
def backward_runs_in_one_thread(tensor):
    t = tensor(X).requires_grad_()
    with torch.autograd.set_multithreading_enabled(False):
        (t * t).sum().backward()
    return t.grad


@program
def autocast_chooses_the_dtypes(tensor):
    t, u = tensor(X), tensor(X).t()
    with torch.autocast("cpu", torch.bfloat16):
        product = t @ u
        results = [product, product + t @ u, product + 1.0, F.linear(t, t), torch.bmm(t[None], u[None])]
        results += [torch.cat([product, tensor(X)], 1), F.mse_loss(product[:, :4], t), product.softmax(-1)]
        with torch.autocast("cpu", enabled=False):
            results += [t @ u, product.float() * 2]
        with torch.autocast("cpu", torch.float16):
            results.append(t @ u)
    results.append(t @ u)
    return traits(*results), product, results[-1]


@program
def autocast_casts_weights_once(tensor):
    model = exact_linear()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=True):
        y = model(tensor(X)) + model(tensor(X))
    y.float().sum().backward()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.weight.mul_(2)
        again = model(tensor(X))
    return traits(y, again), y, again, [p.grad for p in model.parameters()]


@program
def autocast_of_a_step(tensor):
    model, t = exact_linear(), tensor(X).requires_grad_()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(t).relu()
    loss = y.float().sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    return traits(y), t.grad, model.weight.grad, model.weight, scaler.get_scale()


@program
def autocast_of_functions_that_ask_for_a_dtype(tensor):
    class Double(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, x):
            ctx.autocast = torch.is_autocast_enabled("cpu")
            return x * 2

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, gradient):
            return gradient * 2

    t = tensor(X.bfloat16()).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = Double.apply(t)
    y.sum().backward()
    return traits(y), t.grad


@faulty
def a_leaf_changes_in_place(tensor):
    tensor(X).requires_grad_().add_(1)


@faulty
def a_view_of_a_leaf_changes_in_place(tensor):
    tensor(X).requires_grad_()[0].add_(1)


@faulty
def an_inference_tensor_changes_outside(tensor):
    with torch.inference_mode():
        t = tensor(X) * 2
    t.add_(1)


@faulty
def an_inference_tensor_requires_grad(tensor):
    with torch.inference_mode():
        t = tensor(X) * 2
    t.requires_grad_()


@faulty
def a_view_made_without_grad_changes_with_grad(tensor):
    base = tensor(X).requires_grad_() * 1
    with torch.no_grad():
        view = base[0]
    view.add_(1)


@faulty
def integers_require_grad(tensor):
    tensor(X).to(torch.int32).requires_grad_()


@faulty
def a_tensor_with_a_graph_is_given_to_numpy(tensor):
    (tensor(X).requires_grad_() * 2).numpy()


@faulty
def a_tensor_with_a_graph_is_deep_copied(tensor):
    import copy

    copy.deepcopy(tensor(X).requires_grad_() * 2)


@faulty
def a_result_of_no_grad_goes_backward(tensor):
    with torch.no_grad():
        loss = (tensor(X).requires_grad_() * 2).sum()
    loss.backward()
