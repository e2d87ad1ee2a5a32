"""`torch.func`, forward-mode AD and `torch.autograd.functional` give what they give on CPU, and say what ran where."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, functional
from torch.func import (
    functional_call,
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
    vmap,
)

from ttreg.report import why

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
def test_transforms_give_what_they_give_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_transforms_refuse_what_they_refuse_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_transforms_use_the_device_and_give_a_reason_where_they_do_not(program, device):
    with device as session:
        program(session.to_device)
    report = session.report()
    assert report.totals.device
    assert all(why(row) for row in report.ops if row.placement == "host")


def cube(x):
    return (x * x * x).sum()


@program
def grads(tensor):
    both = grad(lambda x, y: (x * x * y).sum(), argnums=(0, 1))
    return grad(cube)(tensor(X)), grad(grad_sum(cube))(tensor(X)), both(tensor(X), X), both(X, tensor(X))


def grad_sum(function):
    return lambda x: grad(function)(x).sum()


@program
def grads_with_values_and_more(tensor):
    def loss(parameters, x):
        y = x * parameters["factor"] + parameters["offset"]
        return (y * y).sum(), y

    parameters = {"factor": tensor(X), "offset": tensor(X + 1)}
    return grad_and_value(loss, has_aux=True)(parameters, tensor(X)), grad(loss, has_aux=True)(parameters, X)


@program
def what_a_function_captures(tensor):
    captured, plain = tensor(X) * 2, X * 2

    def function(x):
        return (x * captured).sum() + (x * plain).sum() * captured[0, 0].item() + float(captured.sum()) * x.sum()

    return grad(function)(tensor(X)), vmap(lambda x: x * captured + plain)(tensor(X))


@program
def captured_tensors_are_copied_and_printed(tensor):
    captured, texts = tensor(X) * 2, []

    def function(x):
        texts.append(repr(captured))
        return (copy.deepcopy(captured) * x).sum() + captured.tolist()[0][0] * x.sum()

    return grad(function)(tensor(X)), texts


@program
def wrapped_tensors_are_printed(tensor):
    texts = []

    def function(x):
        texts.append(str(x * 2))
        return cube(x)

    return grad(function)(tensor(X)), vmap(function)(tensor(X)), texts


@program
def vmaps_over_dims(tensor):
    return (
        vmap(lambda x: x * 2 + x.sum())(tensor(X)),
        vmap(torch.dot)(tensor(X), tensor(X)),
        vmap(lambda a, b: a @ b, in_dims=(None, 0))(tensor(X), tensor(X)),
        vmap(lambda x: (x * 2, x.sum()), in_dims=1, out_dims=(1, 0))(tensor(X)),
        vmap(vmap(lambda x, y: x * y, in_dims=(0, None)), in_dims=(0, 0))(tensor(X), tensor(X[:, 0])),
        vmap(lambda x: x * 2, chunk_size=4)(tensor(X)),
    )


@program
def vmaps_of_indices_and_writes(tensor):
    written = tensor(X)
    vmap(lambda x: x.mul_(2))(written)
    index = torch.tensor([0, 1, 2, 3, 0, 1])
    gathered = vmap(lambda x, i: x[i])(tensor(X), index)
    return written, gathered, vmap(lambda x: x.clone().fill_(2).add_(x))(tensor(X)), vmap(torch.sort)(tensor(X))


@program
def vmaps_draw_numbers(tensor):
    torch.manual_seed(0)
    different = vmap(lambda x: x + torch.rand(4), randomness="different")(tensor(X))
    return different, vmap(lambda x: x + torch.rand(4), randomness="same")(tensor(X))


@program
def ops_without_a_batching_rule(tensor):
    with pytest.warns(UserWarning, match="batching rule"):
        return vmap(lambda x: torch.renorm(x[None], 2, 0, 100.0) + x)(tensor(X))


@program
def products_with_jacobians(tensor):
    value, pull = vjp(lambda x: x * x * x, tensor(X))
    linear_value, push = linearize(lambda x: x * x, tensor(X))
    forward = jvp(lambda x: x * x * x, (tensor(X),), (tensor(X),))
    mixed = jvp(lambda x, y: x * y, (X, tensor(X)), (tensor(X), X))
    return value, pull(tensor(X)), linear_value, push(tensor(X)), forward, mixed


@program
def jacobians(tensor):
    square = lambda x: x * x  # noqa: E731
    row = tensor(X)[0]
    return (
        jacrev(square)(row),
        jacrev(square, chunk_size=2)(row),
        jacfwd(square)(row),
        hessian(cube)(row),
        jacfwd(jacrev(cube))(row),
        vmap(jacrev(square))(tensor(X)),
    )


@program
def jacobians_of_autograd_functional(tensor):
    square, row, other = (lambda x: x * x * x), tensor(X)[0], tensor(X)[1]
    return (
        functional.jacobian(square, row),
        functional.jacobian(square, row, vectorize=True),
        functional.jacobian(square, row, vectorize=True, strategy="forward-mode"),
        functional.hessian(cube, row),
        functional.hvp(cube, row, other),
        functional.vhp(cube, row, other),
        functional.jvp(square, row, other),
        functional.vjp(square, row, other),
    )


@program
def gradients_of_many_cotangents(tensor):
    t = tensor(X).requires_grad_()
    return torch.autograd.grad(t * t, t, tensor(torch.stack([X, X + 1])), is_grads_batched=True)


@program
def dual_numbers(tensor):
    t = tensor(X).requires_grad_()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(t, tensor(X))
        made = forward_ad.unpack_dual((dual * dual * dual)[1:])
        changed = (dual * 1).mul_(dual)
        assert forward_ad.unpack_dual(tensor(X)).tangent is None
    made.tangent.sum().backward()
    return made, forward_ad_parts(changed), t.grad


def forward_ad_parts(tensor):
    return tensor.shape, tensor.dtype


@program
def modules_are_called_with_other_parameters(tensor):
    model = nn.Linear(4, 6)
    parameters = {"weight": tensor(X), "bias": tensor(torch.ones(6))}
    loss = lambda p, x: functional_call(model, p, (x,)).relu().sum()  # noqa: E731
    return (
        functional_call(model, parameters, (tensor(X),)),
        grad(loss)(parameters, tensor(X)),
        vmap(grad(loss), in_dims=(None, 0))(parameters, tensor(X)),
    )


@program
def an_ensemble_is_stacked(tensor):
    models = [nn.Linear(4, 6) for _ in range(3)]
    with torch.no_grad():
        for number, model in enumerate(models):
            model.weight.copy_(X * number)
            model.bias.fill_(number)
    parameters, buffers = stack_module_state(models)
    each = lambda p, b, x: functional_call(models[0], (p, b), (x,))  # noqa: E731
    y = vmap(each, in_dims=(0, 0, None))(parameters, buffers, tensor(X))
    y.sum().backward()
    return y, [p.grad for p in parameters.values()]


@program
def functions_are_functionalized(tensor):
    def function(x):
        y = x * 2
        y[0].add_(1)
        return y.mul_(2)

    return functionalize(function)(tensor(X)), grad(functionalize(lambda x: function(x).sum()))(tensor(X))


@faulty
def a_gradient_of_many(tensor):
    grad(lambda x: x * 2)(tensor(X))


@faulty
def a_captured_tensor_is_changed(tensor):
    captured = tensor(X)
    grad(lambda x: (captured.mul_(2) * x).sum())(tensor(X))


@faulty
def a_batched_value_decides(tensor):
    vmap(lambda x: x * 2 if x.sum() > 0 else x)(tensor(X))


@faulty
def batches_of_different_sizes(tensor):
    vmap(torch.dot)(tensor(X), tensor(X)[:3])


@faulty
def numbers_are_drawn_without_saying_how(tensor):
    vmap(lambda x: x + torch.rand(4))(tensor(X))
