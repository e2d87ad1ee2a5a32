"""Optimizers, schedules and clipping do in training what they do on CPU."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler

import ttreg

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
TARGET = torch.tensor([0, 1, 2, 2, 1, 0])
PLAIN, FOREACH, FUSED = {"foreach": False}, {"foreach": True}, {"fused": True}
MAKERS = {
    optim.SGD: ({"lr": 0.1, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.01}, (PLAIN, FOREACH, FUSED)),
    optim.Adam: ({"lr": 0.05, "amsgrad": True}, (PLAIN, FOREACH, FUSED)),
    optim.AdamW: ({"lr": 0.05}, (PLAIN, FOREACH, FUSED)),
    optim.Adagrad: ({"lr": 0.05, "lr_decay": 0.01}, (PLAIN, FOREACH, FUSED)),
    optim.Adadelta: ({}, (PLAIN, FOREACH)),
    optim.Adamax: ({"lr": 0.05}, (PLAIN, FOREACH)),
    optim.ASGD: ({"lr": 0.1, "t0": 3}, (PLAIN, FOREACH)),
    optim.NAdam: ({"lr": 0.05}, (PLAIN, FOREACH)),
    optim.RAdam: ({"lr": 0.05}, (PLAIN, FOREACH)),
    optim.RMSprop: ({"lr": 0.01, "momentum": 0.5}, (PLAIN, FOREACH)),
    optim.Rprop: ({"lr": 0.01}, (PLAIN, FOREACH)),
    optim.Adafactor: ({"lr": 0.1}, (PLAIN, FOREACH)),
}
WAYS = [(make, {**keywords, **way}) for make, (keywords, ways) in MAKERS.items() for way in ways]


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def loss_of(model, x):
    return nn.functional.cross_entropy(model(x), TARGET)


def steps(model, optimizer, x, count=6, *, clip=None, schedule=None):
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = loss_of(model, x)
        loss.backward()
        if clip is not None:
            losses.append(clip(model.parameters()))
        optimizer.step()
        if schedule is not None:
            schedule(loss.detach())
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize(
    ("make", "keywords"),
    WAYS,
    ids=[f"{make.__name__}-{list(keywords)[-1]}-{list(keywords.values())[-1]}" for make, keywords in WAYS],
)
def test_optimizers(make, keywords, follows_cpu):
    def program(tensor):
        model = make_model()
        optimizer = make(model.parameters(), **keywords)
        losses = steps(model, optimizer, tensor(X))
        return losses, optimizer.state_dict(), list(model.parameters())

    follows_cpu(program)


def test_optimizers_that_call_back(follows_cpu):
    def program(tensor):
        model, x = make_model(), tensor(X)
        optimizer = optim.LBFGS(model.parameters(), lr=0.5, max_iter=3, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            loss = loss_of(model, x)
            loss.backward()
            return loss

        return [optimizer.step(closure).detach() for _ in range(3)]

    follows_cpu(program)


def test_optimizers_of_sparse_gradients(follows_cpu):
    def program(tensor):
        torch.manual_seed(0)
        embedding = nn.Embedding(6, 4, sparse=True)
        optimizer = optim.SparseAdam(embedding.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (embedding(torch.tensor([1, 2, 2])) * tensor(X)[:3]).sum().backward()
            optimizer.step()
        return embedding.weight

    follows_cpu(program)


def test_a_learning_rate_that_is_a_tensor(follows_cpu):
    def program(tensor):
        model, rate = make_model(), tensor(torch.tensor([0.05]))[0]
        optimizer = optim.Adam(model.parameters(), lr=rate, foreach=False)
        losses = steps(model, optimizer, tensor(X), 3)
        rate.mul_(2)
        return losses + steps(model, optimizer, tensor(X), 3)

    follows_cpu(program)


def test_maximizing(follows_cpu):
    def program(tensor):
        model = make_model()
        return steps(model, optim.SGD(model.parameters(), lr=0.1, maximize=True), tensor(X))

    follows_cpu(program)


def test_a_differentiable_step(follows_cpu):
    def program(tensor):
        rate, start = tensor(X).requires_grad_(), tensor(X * 2).requires_grad_()
        moved = start * 1
        moved.grad = rate * rate
        optim.SGD([moved], lr=0.5, differentiable=True).step()
        moved.sum().backward()
        return moved.detach(), rate.grad, start.grad

    follows_cpu(program)


def test_parameter_groups(follows_cpu):
    def program(tensor):
        model = make_model()
        groups = [
            {"params": model[0].parameters(), "lr": 0.01, "weight_decay": 0.1},
            {"params": [model[2].weight], "betas": (0.5, 0.9)},
        ]
        optimizer = optim.AdamW(groups, lr=0.05)
        losses = steps(model, optimizer, tensor(X), 3)
        optimizer.add_param_group({"params": [model[2].bias], "lr": 0.2})
        return losses + steps(model, optimizer, tensor(X), 3), list(model.parameters())

    follows_cpu(program)


def test_frozen_and_thawed_parameters(follows_cpu):
    def program(tensor):
        model = make_model()
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        model[0].requires_grad_(False)
        losses = steps(model, optimizer, tensor(X), 2)
        model[0].requires_grad_(True)
        return losses + steps(model, optimizer, tensor(X), 2), list(model.parameters())

    follows_cpu(program)


@pytest.mark.parametrize("on_device", [False, True], ids=["data-on-host", "data-on-device"])
def test_gradients_of_several_batches_accumulate(on_device, follows_cpu):
    def program(tensor):
        model, x = make_model(), tensor(X) if on_device else X
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        for set_to_none in (False, True):
            for batch in x.split(3):
                nn.functional.cross_entropy(model(batch), TARGET[:3]).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
        return [p.grad is None for p in model.parameters()], list(model.parameters())

    follows_cpu(program)


SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=8),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "in-sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.5),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_learning_rate_schedules(name, follows_cpu):
    def program(tensor):
        model, rates = make_model(), []
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = SCHEDULES[name](optimizer)

        def schedule(loss):
            scheduler.step(*([loss] if name == "plateau" else []))
            rates.append(float(optimizer.param_groups[0]["lr"]))

        return steps(model, optimizer, tensor(X), schedule=schedule), rates

    follows_cpu(program)


CLIPS = {
    "norm": lambda p: nn.utils.clip_grad_norm_(p, 0.05),
    "norm-foreach": lambda p: nn.utils.clip_grad_norm_(p, 0.05, foreach=True),
    "norm-1": lambda p: nn.utils.clip_grad_norm_(p, 0.05, norm_type=1),
    "norm-inf": lambda p: nn.utils.clip_grad_norm_(p, 0.05, norm_type=float("inf"), error_if_nonfinite=True),
    "value": lambda p: nn.utils.clip_grad_value_(p, 0.02),
    "value-foreach": lambda p: nn.utils.clip_grad_value_(p, 0.02, foreach=True),
    "total": lambda p: clip_to_total(list(p)),
}


def clip_to_total(parameters):
    total = nn.utils.get_total_norm([p.grad for p in parameters])
    nn.utils.clip_grads_with_norm_(parameters, 0.05, total)
    return total


@pytest.mark.parametrize("name", CLIPS)
def test_gradient_clipping(name, follows_cpu):
    def program(tensor):
        model = make_model()
        losses = steps(model, optim.SGD(model.parameters(), lr=0.5), tensor(X), clip=CLIPS[name])
        return losses, [p.grad for p in model.parameters()]

    follows_cpu(program)


def test_vectors_of_parameters(follows_cpu):
    def program(tensor):
        model = make_model()
        vector = nn.utils.parameters_to_vector(model.parameters())
        nn.utils.vector_to_parameters(tensor(torch.ones(vector.numel())) * vector.detach() * 2, model.parameters())
        return vector, steps(model, optim.SGD(model.parameters(), lr=0.1), tensor(X), 3)

    follows_cpu(program)


def test_states_are_saved_and_loaded(follows_cpu):
    def program(tensor):
        model = make_model()
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        losses = steps(model, optimizer, tensor(X), 2)
        file = io.BytesIO()
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved, other = torch.load(file), copy.deepcopy(make_model())
        other.load_state_dict(saved["model"])
        optimizer = optim.Adam(other.parameters())
        optimizer.load_state_dict(saved["optimizer"])
        return losses + steps(other, optimizer, tensor(X), 2), list(other.parameters())

    follows_cpu(program)


def test_hooks_of_steps(follows_cpu):
    def program(tensor):
        model, seen = make_model(), []
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        optimizer.register_step_pre_hook(lambda *_: seen.append(model[0].weight.grad.norm()))
        optimizer.register_step_post_hook(lambda *_: seen.append(model[0].weight.detach().norm()))
        return steps(model, optimizer, tensor(X), 3), seen

    follows_cpu(program)


def test_an_optimizer_that_meets_a_nan_raises_as_on_cpu(device):
    def program():
        model = make_model()
        loss_of(model, X / 0 * 0).backward()
        with pytest.raises(RuntimeError, match="non-finite") as raised:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
        return str(raised.value)

    expected = program()
    with device:
        assert program() == expected


ON_DEVICE = [
    (make, {**MAKERS[make][0], **way})
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.NAdam, optim.Adamax)
    for way in MAKERS[make][1]
    if (make, way) != (optim.SGD, FUSED)  # its momentum starts as `empty_like`, which is memory of the host
]


@pytest.mark.parametrize(
    ("make", "keywords"),
    ON_DEVICE,
    ids=[f"{make.__name__}-{list(keywords)[-1]}-{list(keywords.values())[-1]}" for make, keywords in ON_DEVICE],
)
def test_steps_of_parameters_on_the_device_read_nothing_from_it(make, keywords):
    torch.manual_seed(0)
    weights, gradients = [torch.randn(4, 8), torch.randn(8)], [torch.randn(4, 8), torch.randn(8)]

    def run(tensor, downloads=lambda: 0):
        parameters = [nn.Parameter(tensor(weight)) for weight in weights]
        optimizer = make(parameters, **keywords)
        for _ in range(3):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = tensor(gradient)
            nn.utils.clip_grad_norm_(parameters, 1.0, foreach=keywords.get("foreach"))
            optimizer.step()
            assert downloads() == 0
        return [parameter.detach() for parameter in parameters]

    with ttreg.device_mode(device="emulated") as session:
        given = run(session.to_device, lambda: session.report().transfers.downloads)
    torch.testing.assert_close(given, run(torch.clone), rtol=1e-4, atol=1e-5)


FOREACH_CALLS = {
    "add_ of a list": lambda a, b: torch._foreach_add_(a, b, alpha=2),
    "mul_ of numbers": lambda a, b: torch._foreach_mul_(a, [2.0, 3.0]),
    "div_ by a tensor": lambda a, b: torch._foreach_div_(a, torch.tensor(2.0)),
    "addcmul_ of a tensor of numbers": lambda a, b: torch._foreach_addcmul_(a, b, b, torch.tensor([2.0, 3.0])),
    "lerp": lambda a, b: torch._foreach_lerp(a, b, 0.25),
    "pow of a number": lambda a, b: torch._foreach_pow(2.0, a),
    "norm": lambda a, b: torch._foreach_norm(a, 1.0),
    "copy_ and zero_": lambda a, b: (torch._foreach_copy_(a, b), torch._foreach_zero_(b)),
    "maximum of a part": lambda a, b: torch._foreach_maximum_([a[0][:, ::2]], [b[0][:, 1::2]]),
}


@pytest.mark.parametrize("name", FOREACH_CALLS)
def test_lists_of_tensors_stay_on_the_device(name):
    torch.manual_seed(0)
    first, second = [torch.randn(4, 8), torch.randn(8)], [torch.randn(4, 8), torch.randn(8)]

    def run(tensor, downloads=lambda: 0):
        a, b = [*map(tensor, first)], [*map(tensor, second)]
        versions = [t._version for t in a]
        made = FOREACH_CALLS[name](a, b)
        assert downloads() == 0
        return made or [], a, b, [t._version - before for t, before in zip(a, versions, strict=True)]

    with ttreg.device_mode(device="emulated") as session:
        given = run(session.to_device, lambda: session.report().transfers.downloads)
    torch.testing.assert_close(given, run(torch.clone), rtol=1e-5, atol=1e-5, equal_nan=True)


def test_foreach_raises_as_on_cpu_for_lists_of_two_lengths():
    def message(tensor):
        with pytest.raises(RuntimeError) as raised:
            torch._foreach_add_([tensor(torch.ones(2))], [tensor(torch.ones(2))] * 2)
        return str(raised.value)

    with ttreg.device_mode(device="emulated") as session:
        given = message(session.to_device)
    assert given == message(torch.clone)
