"""Operators and conversions of `DeviceTensor`s."""

from __future__ import annotations

import pytest
import torch

import ttreg

PROGRAMS: list = []
X = torch.arange(12.0).reshape(3, 4) / 4


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@program
def operators_both_ways(tensor):
    t = tensor(X)
    results = [2 - t, 2 * t, 1 / (t + 1), t**2, 2**t, -t, abs(t - 1), t // 1, t % 1, 3 // (t + 1), t @ t.t()]
    return (
        results,
        [t > 1, torch.ones(4) > t, t == t, t != 1, ~(t > 1), (t > 1) & (t < 2), (t > 1) | (t < 0.5)],
        t is None,
    )


@program
def a_list_of_device_numbers_becomes_a_tensor_by_stack(tensor):
    t = tensor(X)
    rows = [torch.stack([row.sum(), row.max()]) for row in t]
    return torch.stack(rows), torch.cat([t, t.clone()]), torch.stack(list(t)), torch.tensor(t.tolist())


@program
def functions_of_its_elements(tensor):
    t, u = tensor(X), tensor(X)
    t.apply_(lambda value: value * 2)
    u.map_(t, lambda a, b: a + b)
    return t, u, t + u


@program
def conversions(tensor):
    t = tensor(X)
    same = [t.cpu() is t, t.to("cpu") is t, t.contiguous() is t, t.float() is t, t.to(torch.float32) is t]
    others = [t.type(torch.int64), t.half(), t.double(), t.type_as(torch.ones(1, dtype=torch.float64)), t.int()]
    return same, others, t.to("meta").shape, t.new_tensor([1, 2]), t.new_zeros(2), torch.zeros_like(t), t.clone()


@program
def channels_last_is_kept(tensor):
    t = tensor(torch.arange(24.0).reshape(1, 2, 3, 4))
    c = t.to(memory_format=torch.channels_last)
    result = c + 1
    c.add_(1)
    return c, result, t, result.permute(0, 2, 3, 1), result.is_contiguous(memory_format=torch.channels_last)


@program
def strides_are_kept_by_elementwise_ops(tensor):
    t = tensor(X).t()
    return t + 1, t + t, t * t.contiguous(), torch.empty_like(t).stride(), t.clone(), t.contiguous()


def test_a_narrower_precision_takes_no_dtypes_that_pytorch_refuses():
    x, weight = X.clone(), torch.ones(4, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="mixed dtype") as expected:
        torch.nn.functional.layer_norm(x, [4], weight)
    mode = ttreg.device_mode(device="emulated", min_upload_numel=0, precision="bfloat16")
    with mode, pytest.raises(RuntimeError) as caught:
        torch.nn.functional.layer_norm(x, [4], weight)
    assert str(caught.value) == str(expected.value)
