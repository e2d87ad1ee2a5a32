"""Custom autograd functions do what they do on CPU."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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
def test_functions_do_what_they_do_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_functions_raise_what_they_raise_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 3 * x * x


@program
def a_function_has_second_derivatives(tensor):
    t = tensor(X).requires_grad_()
    (first,) = torch.autograd.grad(Cube.apply(t).sum(), t, create_graph=True)
    first.sum().backward()
    return first, t.grad


@program
def a_function_writes_in_place(tensor):
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    t = tensor(X).requires_grad_()
    y = t * 1
    z = Double.apply(y)
    z.sum().backward()
    return z is y, y, t.grad


@program
def a_function_has_several_outputs(tensor):
    class Both(Function):
        @staticmethod
        def forward(ctx, x, factor):
            ctx.factor = factor
            return x * factor, x > 0, x + factor

        @staticmethod
        def backward(ctx, product, positive, total):
            return product * ctx.factor + total, None

    t = tensor(X).requires_grad_()
    product, positive, total = Both.apply(t, 3)
    (product + total * 2).sum().backward()
    return product.requires_grad, positive.requires_grad, positive, t.grad


@program
def a_function_is_told_of_missing_gradients(tensor):
    seen = []

    class Both(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            other = x * 3
            ctx.mark_non_differentiable(other)
            return x * 2, other

        @staticmethod
        @once_differentiable
        def backward(ctx, gradient, missing):
            seen.append((missing is None, ctx.needs_input_grad))
            return gradient * 2

    t = tensor(X).requires_grad_()
    Both.apply(t)[0].sum().backward()
    return seen, t.grad


@program
def a_function_gives_back_its_input_and_a_view(tensor):
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x.view(-1)

        @staticmethod
        def backward(ctx, gradient):
            return gradient.view(6, 4) * 2

    class Itself(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 5

    t = tensor(X).requires_grad_()
    y = Same.apply(Itself.apply(t))
    y.sum().backward()
    return y, t.grad


@program
def a_function_runs_autograd_inside(tensor):
    class Inner(Function):
        @staticmethod
        def forward(ctx, x):
            with torch.enable_grad():
                ctx.x = x.detach().requires_grad_()
                ctx.y = (ctx.x * ctx.x).sum()
            return ctx.y.detach()

        @staticmethod
        def backward(ctx, gradient):
            ctx.y.backward()
            return ctx.x.grad * gradient

    t = tensor(X).requires_grad_()
    (Inner.apply(t) * 2).backward()
    return t.grad


@program
def a_straight_through_estimator(tensor):
    t = tensor(X).requires_grad_()
    y = t + (t.round() - t).detach()
    (y * y).sum().backward()
    return y, t.grad


@program
def a_function_with_a_jvp(tensor):
    class Square(Function):
        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx, tangent):
            (x,) = ctx.saved_tensors
            return 2 * x * tangent

    return torch.func.jvp(Square.apply, (tensor(X),), (tensor(X),))


@program
def a_function_under_vmap(tensor):
    class Product(Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, y):
            return x * y

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, gradient):
            x, y = ctx.saved_tensors
            return gradient * y, gradient * x

    of_both = torch.func.grad(lambda x, y: Product.apply(x, y).sum(), argnums=(0, 1))
    return torch.func.vmap(of_both)(tensor(X), tensor(X)), of_both(tensor(X), tensor(X))


@program
def numerical_gradients_agree(tensor):
    t = tensor(X)[:2].double().requires_grad_()
    checks = {"check_forward_ad": True, "check_batched_grad": True}
    return (
        torch.autograd.gradcheck(Cube.apply, t),
        torch.autograd.gradcheck(lambda x: x * x * x, t, **checks),
        torch.autograd.gradcheck(lambda x: x * x * x, t, fast_mode=True),
        torch.autograd.gradgradcheck(Cube.apply, t),
    )


@program
def reentrant_backward_passes_nest_deeply(tensor):
    # PyTorch goes on in another thread when they nest more than 60 deep.
    class Nested(Function):
        @staticmethod
        def forward(ctx, x, depth):
            ctx.depth = depth
            return x * 1

        @staticmethod
        def backward(ctx, gradient):
            if ctx.depth == 0:
                return gradient * 2, None
            with torch.enable_grad():
                x = gradient.detach().requires_grad_()
                Nested.apply(x, ctx.depth - 1).sum().backward()
            return x.grad + gradient, None

    t = tensor(X).requires_grad_()
    Nested.apply(t, 70).sum().backward()
    return t.grad


@faulty
def a_function_differentiated_once_too_often(tensor):
    class Once(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, gradient):
            return gradient * 2 * ctx.saved_tensors[0]

    t = tensor(X).requires_grad_()
    (first,) = torch.autograd.grad(Once.apply(t).sum(), t, create_graph=True)
    first.sum().backward()


@faulty
def a_function_with_a_gradient_too_many(tensor):
    class Two(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient, gradient

    t = tensor(X).requires_grad_()
    Two.apply(t).sum().backward()
