"""Printing a `DeviceTensor`: the text is PyTorch's own."""

from __future__ import annotations

import math

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
def test_the_text_is_that_of_a_plain_tensor(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_the_error_is_that_of_a_plain_tensor(program, same_as_cpu):
    same_as_cpu(program, raises=True)


@program
def printing(tensor):
    t = tensor(X)
    return [repr(t), str(t), f"{t}", f"{t!r}", f"{t[0, 1]}", f"{t[0, 1]:.3f}", f"{t.sum():>8.2e}"]


@program
def printing_with_gradients(tensor):
    t = tensor(X).requires_grad_()
    y = t * 2
    return [repr(t), repr(y), repr(y.sum()), repr(y.view(12)), repr(t.detach()), f"{y.sum()}"]


@program
def printing_breaks_lines_where_pytorch_does(tensor):
    return repr(tensor(torch.arange(30.0)).requires_grad_() * 1.5), repr(tensor(torch.arange(30.0)).requires_grad_())


@program
def printing_summarises(tensor):
    return repr(tensor(torch.arange(5000.0))), repr(tensor(torch.arange(5000.0)).bfloat16().view(50, 100))


@program
def printing_every_dtype(tensor):
    dtypes = (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.bool, torch.uint8)
    return [repr(tensor(X).to(dtype)) for dtype in (*dtypes, torch.complex64)]


@program
def printing_what_is_unusual(tensor):
    odd = tensor(torch.tensor([math.nan, math.inf, -0.0, 1e-20]))
    return repr(odd), repr(tensor(X)[:0]), repr(tensor(X)[:, :0]), repr(tensor(X)[0, 0]), repr(tensor(X).t())


@program
def printing_a_parameter(tensor):
    parameter = torch.nn.Parameter(tensor(X))
    return repr(parameter), repr(torch.nn.Parameter(tensor(X), requires_grad=False)), str(parameter)


@faulty
def formatting_many(tensor):
    return f"{tensor(X):.3f}"
