"""Hooks of tensors, nodes and modules, hooks on what graphs save, and anomaly mode do what they do on CPU."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.autograd import graph

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
def test_hooks_do_what_they_do_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_hooks_raise_what_they_raise_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


def exact_linear():
    linear = nn.Linear(4, 6)
    with torch.no_grad():
        linear.weight.copy_(X)
        linear.bias.fill_(1)
    return linear


@program
def tensor_hooks_run_in_order_and_can_be_removed(tensor):
    t, seen = tensor(X).requires_grad_(), []
    y = t * 2
    y.register_hook(lambda g: g + 1)
    removed = y.register_hook(lambda g: g * 100)
    y.register_hook(lambda g: seen.append(g.clone()))
    removed.remove()
    y.sum().backward()
    return seen, t.grad


@program
def a_hook_changes_its_gradient_in_place(tensor):
    t = tensor(X).requires_grad_()
    y = t * 2
    y.register_hook(lambda g: g.mul_(3))
    (y * y).sum().backward()
    return t.grad


@program
def modules_see_and_change_what_passes(tensor):
    model, seen = nn.Sequential(nn.ReLU(), exact_linear()), []
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    model[0].register_forward_hook(lambda module, args, output: output + 1)
    model[0].register_full_backward_hook(lambda module, inward, outward: (inward[0] * 2,))
    model[1].register_forward_hook(lambda module, args, kwargs, output: output * 2, with_kwargs=True)
    model[1].register_full_backward_pre_hook(lambda module, outward: (outward[0] * 3,))
    model[1].register_full_backward_hook(lambda module, inward, outward: seen.append((inward, outward)))
    t = tensor(X).requires_grad_()
    y = model(t)
    y.sum().backward()
    return y, seen, t.grad, [p.grad for p in model.parameters()]


@program
def hooks_of_all_modules(tensor):
    seen = []
    handles = [
        nn.modules.module.register_module_forward_hook(lambda module, args, output: seen.append(output.detach() * 2)),
        nn.modules.module.register_module_full_backward_hook(lambda module, inward, outward: seen.append(outward[0])),
    ]
    try:
        exact_linear()(tensor(X).requires_grad_()).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    return seen


@program
def an_optimizer_steps_in_the_backward_pass(tensor):
    model = exact_linear()
    for parameter in model.parameters():
        optimizer = torch.optim.SGD([parameter], lr=0.5)

        def step(p, optimizer=optimizer):
            optimizer.step()
            optimizer.zero_grad()

        parameter.register_post_accumulate_grad_hook(step)
    for _ in range(2):
        model(tensor(X)).sum().backward()
    return list(model.parameters()), [p.grad for p in model.parameters()]


@program
def hooks_of_accumulating_nodes(tensor):
    t, seen = tensor(X).requires_grad_(), []
    node = t.view_as(t).grad_fn.next_functions[0][0]
    node.register_prehook(lambda gradients: (gradients[0] * 2,))
    node.register_hook(lambda *_: seen.append(t.grad.clone()))
    (t * 3).sum().backward()
    return node.name(), seen, t.grad


@program
def hooks_of_inner_nodes(tensor):
    t, seen = tensor(X).requires_grad_(), []
    y = t * t
    y.grad_fn.register_prehook(lambda outward: (outward[0] * 2,))
    y.grad_fn.register_hook(lambda inward, outward: seen.append((inward, outward)))
    y.sum().backward()
    return y.grad_fn.name(), seen, t.grad


@program
def hooks_of_several_tensors(tensor):
    t, u, seen = tensor(X).requires_grad_(), tensor(X).requires_grad_(), []
    graph.register_multi_grad_hook((t, u), lambda gradients: seen.append([g * 2 for g in gradients]))
    graph.register_multi_grad_hook((t, u), lambda gradient: seen.append(gradient.sum()), mode="any")
    (t * u).sum().backward()
    return seen


@program
def what_a_node_saved_can_be_read(tensor):
    t = tensor(X).requires_grad_()
    y = (t * 2).exp()
    node = (t * 2 * t).grad_fn
    return node._saved_self, node._saved_other, y.grad_fn._saved_result is not None


@program
def gradients_of_an_edge(tensor):
    t = tensor(X).requires_grad_()
    y = t * t
    z = (y * 2).sum()
    return torch.autograd.grad(z, graph.get_gradient_edge(y), retain_graph=True), torch.autograd.grad(z, [y, t])


@program
def saved_tensors_are_packed_as_arrays(tensor):
    shapes = []

    def pack(saved):
        shapes.append(tuple(saved.shape))
        return saved.numpy(force=True).copy()

    t = tensor(X).requires_grad_()
    with graph.saved_tensors_hooks(pack, torch.from_numpy):
        loss = (t * t).relu().sum()
    loss.backward()
    return t.grad, shapes


@program
def saved_tensors_are_packed_in_another_dtype(tensor):
    t = tensor(X).requires_grad_()
    with graph.saved_tensors_hooks(lambda saved: saved.bfloat16(), lambda packed: packed.float()):
        loss = (t * t * t).sum()
    loss.backward()
    return t.grad


@program
def saved_tensors_are_packed_for_one_tensor(tensor):
    t = tensor(X).requires_grad_()
    y = t.exp()
    y.grad_fn._raw_saved_result.register_hooks(lambda saved: saved * 0 + 2, lambda packed: packed)
    y.sum().backward()
    return t.grad


@program
def saved_tensors_are_kept_on_the_cpu(tensor):
    t = tensor(X).requires_grad_()
    with graph.save_on_cpu():
        loss = (t * t * t).sum()
    loss.backward()
    return t.grad


@program
def saved_tensors_are_changed_where_that_is_allowed(tensor):
    t = tensor(X).requires_grad_()
    with graph.allow_mutation_on_saved_tensors():
        y = t * 1
        loss = (y * y).sum()
        y.view(-1)[3:5].mul_(4)
        y.add_(1)
        loss.backward()
    return y, t.grad


@program
def saved_tensors_survive_a_write_through_data(tensor):
    t = tensor(X).requires_grad_()
    y = t * 1
    loss = (y * y).sum()
    y.data.mul_(2)
    loss.backward()
    return t.grad


@program
def anomaly_mode_lets_finite_gradients_pass(tensor):
    with torch.autograd.set_detect_anomaly(True):
        t = tensor(X).requires_grad_()
        (t * t).relu().sum().backward()
    return t.grad


@program
def anomaly_mode_that_does_not_check_for_nan(tensor):
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        t = tensor(X * 0).requires_grad_()
        (t.sqrt() * 0).sum().backward()
    return t.grad.isnan()


@faulty
def anomaly_mode_finds_a_nan(tensor):
    with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("ignore")  # one with the stack of the forward call
        t = tensor(X * 0).requires_grad_()
        (t.sqrt() * 0).sum().backward()


@faulty
def hooks_on_saved_tensors_are_forbidden(tensor):
    t = tensor(X).requires_grad_()
    with graph.disable_saved_tensors_hooks("not here"), graph.save_on_cpu():
        return (t * t).sum()


@faulty
def a_packed_tensor_of_another_shape(tensor):
    t = tensor(X).requires_grad_()
    with graph.saved_tensors_hooks(lambda saved: saved[0], lambda packed: packed[:2]):
        loss = (t * t).sum()
    loss.backward()


@faulty
def a_hook_that_raises(tensor):
    def hook(gradient):
        raise KeyError(f"{float(gradient.sum())}")

    t = tensor(X).requires_grad_()
    t.register_hook(hook)
    (t * 2).sum().backward()


@faulty
def a_hook_that_gives_another_shape(tensor):
    t = tensor(X).requires_grad_()
    t.register_hook(lambda gradient: gradient[0])
    (t * 2).sum().backward()
