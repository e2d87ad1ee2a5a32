"""What optimizers do to lists of tensors: `_foreach_` ops and fused steps, as the ops that each tensor goes through."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..pytorch_private import DispatchKey, OpOverload, all_op_names, set_key_excluded
from ..registry import decomposed
from ..samples import Sample, Samples, rand
from ..schema import has_parts, is_tracked

aten = torch.ops.aten


def by_kernel(op: OpOverload):
    """Run PyTorch's kernel for all devices, which calls the op of single tensors for each tensor of its lists."""

    def into(*args, **kwargs):
        with set_key_excluded(DispatchKey.ADInplaceOrView, is_tracked(op)):
            return op._op_dk(DispatchKey.CompositeExplicitAutograd, *args, **kwargs)

    return into


def lists_for(op: OpOverload):
    """Two tensors in each list, and as many numbers."""

    def given(argument):
        match str(argument.type):
            case "List[Tensor]":
                return [rand(5, 7, low=0.25, high=0.75), rand(3, low=0.25, high=0.75)]
            case "Tensor":
                return rand(2) if argument.name == "scalars" else rand()
            case "List[number]":
                return [2.0, 3.0]
            case _:
                return 2.0

    def samples():
        yield Sample(*(given(a) for a in op._schema.arguments if not a.has_default_value()))

    return samples


def foreach_ops():
    """The overloads that have no kernel of CPU's own, without the `out=` forms, which no program calls."""
    for name in sorted(name for name in all_op_names() if name.startswith("aten::_foreach_")):
        packet, _, overload = name.removeprefix("aten::").partition(".")
        op = getattr(getattr(aten, packet), overload or "default")
        if has_parts(op) and not any(argument.is_out for argument in op._schema.arguments):
            yield op


for op in foreach_ops():
    decomposed(op, because="each tensor goes through the op of one", samples=lists_for(op), into=by_kernel(op))


def skipped(found_inf):
    """Whether a gradient scaler has found an infinity, and the step is left out."""
    return found_inf is not None and bool(found_inf)


def prepared(param, grad, grad_scale, maximize, weight_decay):
    """The gradient as the step uses it: scaled back (in its own memory too), negated, with the decay of weights."""
    if grad_scale is not None:
        grad.div_(grad_scale)
    if maximize:
        grad = -grad
    return grad.add(param, alpha=weight_decay) if weight_decay else grad


def root(number):
    """The square root; a number that a replay of a recorded step computes anew has a function for it."""
    return math.sqrt(number) if type(number) is float else number.sqrt()


def adam(
    decoupled, self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps,
    amsgrad, maximize, grad_scale, found_inf,
):  # fmt: skip
    if skipped(found_inf):
        return
    for place, param in enumerate(self):
        mean, square, step = exp_avgs[place], exp_avg_sqs[place], state_steps[place].item()
        grad = prepared(param, grads[place], grad_scale, maximize, 0 if decoupled else weight_decay)
        if decoupled:
            param.mul_(1 - lr * weight_decay)
        mean.lerp_(grad, 1 - beta1)
        square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        if amsgrad:
            square = max_exp_avg_sqs[place].copy_(torch.maximum(max_exp_avg_sqs[place], square))
        divisor = square.sqrt().div_(root(1 - beta2**step)).add_(eps)
        param.addcdiv_(mean, divisor, value=-lr / (1 - beta1**step))


def fused_adam(
    self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, *, lr, beta1, beta2, weight_decay, eps, amsgrad,
    maximize, grad_scale=None, found_inf=None,
):  # fmt: skip
    adam(
        False, self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps,
        amsgrad, maximize, grad_scale, found_inf,
    )  # fmt: skip


def fused_adamw(
    self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, *, lr, beta1, beta2, weight_decay, eps, amsgrad,
    maximize, grad_scale=None, found_inf=None,
):  # fmt: skip
    adam(
        True, self, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, lr, beta1, beta2, weight_decay, eps,
        amsgrad, maximize, grad_scale, found_inf,
    )  # fmt: skip


def fused_sgd(
    self, grads, momentum_buffer_list, *, weight_decay, momentum, lr, dampening, nesterov, maximize, is_first_step,
    grad_scale=None, found_inf=None,
):  # fmt: skip
    if skipped(found_inf):
        return
    for place, param in enumerate(self):
        grad = prepared(param, grads[place], grad_scale, maximize, weight_decay)
        if momentum:
            buffer = momentum_buffer_list[place]
            if is_first_step:
                buffer.copy_(grad)
            else:
                buffer.mul_(momentum).add_(grad, alpha=1 - dampening)
            grad = grad.add(buffer, alpha=momentum) if nesterov else buffer
        param.add_(grad, alpha=-lr)


def fused_adagrad(
    self, grads, state_sums, state_steps, *, lr, lr_decay, weight_decay, eps, maximize, grad_scale=None, found_inf=None
):
    if skipped(found_inf):
        return
    for place, param in enumerate(self):
        grad = prepared(param, grads[place], grad_scale, maximize, weight_decay)
        total = state_sums[place].addcmul_(grad, grad)
        rate = lr / (1 + (state_steps[place].item() - 1) * lr_decay)
        param.addcdiv_(grad, total.sqrt().add_(eps), value=-rate)


ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.01, "eps": 1e-8, "amsgrad": True, "maximize": False}
SGD = {"weight_decay": 0.01, "momentum": 0.5, "lr": 0.1, "dampening": 0.0, "nesterov": True, "maximize": False}
ADAGRAD = {"lr": 0.1, "lr_decay": 0.01, "weight_decay": 0.0, "eps": 1e-8, "maximize": True}


def states(count, *more, **keywords):
    def samples():
        yield Sample(
            *([rand(5, 7, low=0.25, high=0.75), rand(3, low=0.25, high=0.75)] for _ in range(count)), *more, **keywords
        )

    return samples


STEPS = [torch.tensor(2.0), torch.tensor(2.0)]
FUSED: dict[OpOverload, tuple[Any, Samples]] = {
    aten._fused_adam_.default: (fused_adam, states(5, STEPS, **ADAM)),
    aten._fused_adamw_.default: (fused_adamw, states(5, STEPS, **ADAM)),
    aten._fused_sgd_.default: (fused_sgd, states(3, **SGD, is_first_step=False)),
    aten._fused_adagrad_.default: (fused_adagrad, states(3, STEPS, **ADAGRAD)),
}

for fused, (step, samples) in FUSED.items():
    decomposed(fused, because="one step after another for each tensor", samples=samples, into=step)
