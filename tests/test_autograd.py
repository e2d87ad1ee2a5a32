"""Autograd: graphs, hooks and version checks are CPU's, wherever the tensors live."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
def test_autograd_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_autograd_refuses_what_it_refuses_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def gradients_accumulate_over_a_retained_graph(tensor):
    t = tensor(X).requires_grad_()
    loss = (t * t).sum()
    loss.backward(retain_graph=True)
    first = t.grad.clone()
    loss.backward()
    return first, t.grad


@program
def gradients_of_gradients(tensor):
    t = tensor(X).requires_grad_()
    (first,) = torch.autograd.grad((t * t * t).sum(), t, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), t, create_graph=True)
    second.sum().backward()
    return first, second, t.grad


@program
def gradients_of_some_inputs(tensor):
    t, u, v = (tensor(X).requires_grad_() for _ in range(3))
    loss = (t * u).sum()
    return torch.autograd.grad(loss, [t, v], allow_unused=True, retain_graph=True), torch.autograd.grad(loss, u)


@program
def hooks_see_and_change_gradients(tensor):
    t, seen = tensor(X).requires_grad_(), []
    t.register_hook(lambda g: seen.append(g.clone()))
    y = t * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 3)
    t.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    y.sum().backward()
    return seen, y.grad, t.grad


@program
def views_and_in_place_ops_have_gradients(tensor):
    t = tensor(X).requires_grad_()
    y = t * 2
    y[1:3].mul_(3)
    y.t()[0] = 1
    view = y.view(-1)
    view[5:7].add_(t.view(-1)[:2])
    y.relu_()
    (y * view.view(6, 4)).sum().backward()
    return t.grad, y.requires_grad, y.is_leaf


@program
def no_grad_and_detach_cut(tensor):
    t = tensor(X).requires_grad_()
    with torch.no_grad():
        cut = t * 2
        t.add_(1)
    (t * cut + t.detach() * t).sum().backward()
    return cut.requires_grad, t.grad


@program
def gradients_flow_through_indexing_and_joining(tensor):
    t = tensor(X).requires_grad_()
    y = torch.cat([t[1:], t[:1]]) * t[torch.tensor([0, 0, 1, 2, 3, 5])]
    rows = torch.stack([row * n for n, row in enumerate(y.unbind())])
    (rows[t > 0].sum() + torch.where(t > 0, t, -t).sum()).backward()
    return t.grad


@program
def mixed_dtypes_have_gradients(tensor):
    t = tensor(X).requires_grad_()
    (t.double() * 2 + t.to(torch.bfloat16)).sum().backward()
    return t.grad, t.grad.dtype


@program
def plain_and_device_tensors_mix(tensor):
    t, plain = tensor(X).requires_grad_(), X.clone().requires_grad_()
    (t * plain + plain.t().t() * 2).sum().backward()
    return t.grad, plain.grad


@program
def backward_takes_a_gradient(tensor):
    t = tensor(X).requires_grad_()
    (t * 2).backward(tensor(X) * 0.5)
    (t * 3).backward(X)
    return t.grad


@program
def derivatives_of_a_high_order(tensor):
    t, derivatives = tensor(X).requires_grad_(), []
    y = (t * t * t * t).sum()
    for _ in range(4):
        (derivative,) = torch.autograd.grad(y, t, create_graph=True)
        derivatives.append(derivative)
        y = derivative.sum()
    return derivatives


@program
def a_penalty_on_the_gradient(tensor):
    t, weight = tensor(X).requires_grad_(), nn.Parameter(tensor(X.t().contiguous()))
    y = ((t @ weight) * 0.25).relu().sum()
    (slope,) = torch.autograd.grad(y, t, create_graph=True)
    (y + (slope * slope).sum()).backward()
    return slope, t.grad, weight.grad


@program
def second_derivatives_of_views_and_joins(tensor):
    t = tensor(X).requires_grad_()
    rows = torch.cat([t[1:], t[:1]]) * t.view(4, 6).t().reshape(6, 4)
    (first,) = torch.autograd.grad((rows * rows).sum(), t, create_graph=True)
    first[::2].sum().backward()
    return first, t.grad


@program
def gradients_only_for_the_named_inputs(tensor):
    t, u = tensor(X).requires_grad_(), tensor(X).requires_grad_()
    (t * u).sum().backward(inputs=[t])
    unused = torch.autograd.grad((t * 2).sum(), [t, u], allow_unused=True, materialize_grads=True)
    return t.grad, u.grad, unused


@program
def gradients_are_assigned_and_removed(tensor):
    t = tensor(X).requires_grad_()
    t.grad = tensor(X)
    (t * 2).sum().backward()
    first = t.grad
    t.grad = None
    (t * 3).sum().backward()
    return first, t.grad, first is t.grad


@program
def a_given_gradient_is_not_written_to(tensor):
    t, given = tensor(X).requires_grad_(), tensor(X)
    (t * 1).backward(given)
    t.grad.mul_(2)
    (t * 1).backward(given)
    return given, t.grad


@program
def gradients_accumulate_into_a_flat_buffer(tensor):
    buffer, t, u = tensor(torch.zeros(48)), tensor(X).requires_grad_(), tensor(X).requires_grad_()
    t.grad, u.grad = buffer[:24].view(6, 4), buffer[24:].view(6, 4)
    for _ in range(2):
        (t * u * 2).sum().backward()
    return buffer, t.grad, u.grad


@program
def sparse_gradients(tensor):
    embedding = nn.Embedding(6, 4, sparse=True)
    with torch.no_grad():
        embedding.weight.copy_(X)
    (embedding(torch.tensor([1, 2, 2])) * tensor(X)[:3]).sum().backward()
    return embedding.weight.grad.is_sparse, embedding.weight.grad.to_dense()


@program
def complex_gradients(tensor):
    t = tensor(X).requires_grad_()
    z = torch.complex(t, t * 2)
    (z * z.conj()).real.sum().backward()
    return t.grad


@program
def several_backward_passes_share_a_part(tensor):
    t = tensor(X).requires_grad_()
    shared = t * t
    (shared * 2).sum().backward(retain_graph=True)
    torch.autograd.backward([(shared * 3).sum(), (shared[1:] * 4).sum()])
    return t.grad


@faulty
def a_saved_tensor_changed_in_place(tensor):
    t = tensor(X).requires_grad_()
    y = t * 1
    loss = (y * y).sum()
    y.add_(1)
    loss.backward()


@faulty
def a_saved_tensor_changed_through_a_view(tensor):
    t = tensor(X).requires_grad_()
    y = t * 1
    loss = (y * y).sum()
    y.detach().view(-1)[0] = 3
    loss.backward()


@faulty
def a_weight_changed_between_forward_and_backward(tensor):
    t, weight = tensor(X).requires_grad_(), nn.Parameter(tensor(X))
    loss = (t * weight).sum()
    with torch.no_grad():
        weight.add_(1)
    loss.backward()


@faulty
def a_gradient_of_many(tensor):
    (tensor(X).requires_grad_() * 2).backward()


@faulty
def a_graph_that_was_freed(tensor):
    t = tensor(X).requires_grad_()
    loss = (t * t).sum()
    loss.backward()
    loss.backward()


@faulty
def a_gradient_of_another_dtype(tensor):
    t = tensor(X).requires_grad_()
    t.grad = tensor(X).double()


@faulty
def a_gradient_of_another_shape(tensor):
    (tensor(X).requires_grad_() * 2).backward(tensor(X)[0])


@faulty
def a_gradient_of_what_was_not_used(tensor):
    t, u = tensor(X).requires_grad_(), tensor(X).requires_grad_()
    return torch.autograd.grad((t * 2).sum(), u)


@faulty
def a_view_of_several_outputs_changed_in_place(tensor):
    t = tensor(X).requires_grad_() * 1
    t.unbind()[0].add_(1)


@faulty
def inference_tensors_are_not_saved(tensor):
    with torch.inference_mode():
        t = tensor(X) * 2
    return (t * tensor(X).requires_grad_()).sum()
