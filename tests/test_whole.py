"""`linear` and `matmul` reach a block as one op, also outside of inference mode; in all else they are PyTorch's."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import ttreg

SHAPES = [(5, 7), (2, 5, 7), (2, 3, 5, 7)]


def factors(*shape, bias=True, seed=0):
    torch.manual_seed(seed)
    return torch.randn(shape), torch.randn(4, shape[-1]), torch.randn(4) if bias else None


def ops(session):
    return {row.op.removeprefix("aten.").partition(".")[0] for row in session.report().ops}


@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_is_one_op(mode, bias, shape, device):
    x, weight, added = factors(*shape, bias=bias)
    layer = nn.Linear(shape[-1], 4, bias=bias)
    layer.load_state_dict({"weight": weight, "bias": added} if bias else {"weight": weight})
    with device as session, mode():
        given = session.to_device(x)
        results = [F.linear(given, weight, added), F.linear(given, weight=weight, bias=added), layer(given)]
    assert ops(session) == {"linear"}
    for result in results:
        torch.testing.assert_close(result.detach(), F.linear(x, weight, added), rtol=1e-5, atol=1e-5)
        assert result.requires_grad == (mode is torch.enable_grad and result is results[-1])


def test_it_is_one_op_beside_a_default_device(device):
    x, weight, bias = factors(2, 5, 7)
    with device as session, torch.device("cpu"):
        F.linear(session.to_device(x), weight.requires_grad_(), bias)
    assert ops(session) == {"linear"}


def test_a_mode_sees_no_functions_in_the_backward(device):
    seen = []

    class Seeing(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    x, weight, bias = factors(2, 5, 7)
    with device as session:
        out = F.linear(session.to_device(x), weight.requires_grad_(), bias.requires_grad_()).sum()
        with Seeing():
            out.backward()
    assert seen == ["backward"]


def test_it_is_one_op_in_a_block_in_a_block():
    x, weight, bias = factors(2, 5, 7)
    with ttreg.device_mode(device="emulated"), ttreg.device_mode(device="emulated", min_upload_numel=0) as inner:
        F.linear(inner.to_device(x), weight, bias)
    assert ops(inner) == {"linear"}


@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("learning", ["xwb", "xw", "wb", "xb", "x", "w", "b"])
def test_gradients_are_those_of_the_parts(learning, shape, follows_cpu):
    def program(tensor):
        leaves = [t.requires_grad_(name in learning) for name, t in zip("xwb", factors(*shape), strict=True)]
        x, weight, bias = (tensor(leaf.detach()).requires_grad_(leaf.requires_grad) for leaf in leaves)
        out = F.linear(x, weight, bias)
        out.square().sum().backward()
        learnt = [t.grad for t in (x, weight, bias) if t.requires_grad]
        assert [t.grad is None for t in (x, weight, bias)] == [name not in learning for name in "xwb"]
        return [out, *learnt, *(torch.tensor(grad.stride()) for grad in learnt)]

    follows_cpu(program)


def test_gradients_of_gradients_are_right(device):
    with device:
        given = [t.double().requires_grad_() for t in factors(2, 3, 7)]
        assert gradcheck(F.linear, given)
        assert gradgradcheck(F.linear, given)


def test_a_penalty_on_the_gradient_reaches_the_weights(follows_cpu):
    def program(tensor):
        x, weight, bias = (tensor(t).requires_grad_() for t in factors(2, 5, 7))
        out = F.linear(F.linear(x, weight, bias).tanh(), weight.t())
        (by_x,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        by_x.square().sum().backward()
        return weight.grad, x.grad, by_x.detach()

    follows_cpu(program)


def changed_before_the_backward(tensor):
    x, weight, bias = (tensor(t) for t in factors(5, 7))
    out = F.linear(x, weight.requires_grad_(), bias)
    x.add_(1)
    out.sum().backward()


def twice_backward(tensor):
    x, weight, bias = (tensor(t) for t in factors(5, 7))
    out = F.linear(x, weight.requires_grad_(), bias).sum()
    out.backward()
    out.backward()


def of_other_sizes(tensor):
    F.linear(*(tensor(t) for t in (torch.ones(2, 5), torch.ones(4, 7))))


def named_twice(tensor):
    x, weight, bias = (tensor(t) for t in factors(5, 7))
    F.linear(x, weight, bias, bias=bias)


def of_another_dtype(tensor):
    F.linear(tensor(torch.ones(2, 5)).requires_grad_(), tensor(torch.ones(4, 5, dtype=torch.float64)))


@pytest.mark.parametrize(
    "program",
    [changed_before_the_backward, twice_backward, of_other_sizes, named_twice, of_another_dtype],
    ids=lambda p: p.__name__,
)
def test_it_raises_what_pytorch_raises(program, device):
    errors = []
    for block in (nullcontext(), device):
        with block, pytest.raises(Exception) as raised:  # noqa: PT011 compared below
            program(torch.clone)
        errors.append((raised.type, str(raised.value).partition("\n")[0][:60]))
    assert errors[0] == errors[1]


def transformed(tensor):
    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    by_row = torch.func.vmap(F.linear, (0, None, None))(x, weight, bias)
    by_grad = torch.func.grad(lambda weight: F.linear(x, weight, bias).sum())(weight)
    by_jvp = torch.func.jvp(lambda x: F.linear(x, weight, bias), (x,), (x,))[1]
    return [by_row, by_grad, by_jvp, torch.func.hessian(lambda w: F.linear(x[0], w).square().sum())(weight)]


def with_tangents(tensor):
    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    with forward_ad.dual_level():
        return list(forward_ad.unpack_dual(F.linear(forward_ad.make_dual(x, x + 1), weight, bias)))


def in_autocast(tensor):
    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = F.linear(x, weight.requires_grad_(), bias)
    out.sum().backward()
    return [torch.tensor(out.dtype is torch.bfloat16), weight.grad.isfinite()]


def kept_elsewhere(tensor):
    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (packed.append(t.shape), t)[1], lambda t: t):
        out = F.linear(x.requires_grad_(), weight.requires_grad_(), bias)
    out.sum().backward()
    return [x.grad, weight.grad, torch.tensor(packed)]


def traced(tensor):
    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    made = torch.jit.trace(F.linear, (x, weight, bias))
    return [made(x + 1, weight, bias), torch.jit.script(nn.Linear(7, 4))(x) * 0]


def seen_by_a_function_mode(tensor):
    seen = []

    class Seeing(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    with Seeing():
        out = F.linear(x, weight, bias)
    assert "linear" in seen
    return [out]


def seen_by_another_mode(tensor):
    seen = []

    class Seeing(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x, weight, bias = (tensor(t) for t in factors(2, 5, 7))
    with torch.no_grad(), Seeing():
        out = F.linear(x, weight, bias)
    assert "aten.addmm.default" in seen
    return [out]


def of_a_vector(tensor):
    x, weight, bias = (tensor(t) for t in factors(5, 7))
    return [F.linear(x[0], weight, bias), F.linear(x[0], weight[0])]


def of_strided_rows(tensor):
    x = tensor(factors(6, 7, 5)[0])
    x = x.transpose(1, 2)[:, ::2].requires_grad_()
    x.retain_grad()
    out = F.linear(x, torch.ones(3, 7), torch.ones(3))
    out.sum().backward()
    return [out, x.grad]


def of_complex_numbers(tensor):
    x, weight, bias = (torch.complex(tensor(t), tensor(t + 1)).requires_grad_() for t in factors(2, 5, 7))
    F.linear(x, weight, bias).abs().sum().backward()
    return [torch.view_as_real(t.grad.resolve_conj()) for t in (x, weight, bias)]


def without_elements(tensor):
    made = []
    for rows, columns in ((0, 4), (3, 0)):
        x, weight = tensor(torch.ones(2, rows, 5)).requires_grad_(), tensor(torch.ones(columns, 5)).requires_grad_()
        out = F.linear(x, weight)
        out.sum().backward()
        made += [out, x.grad, weight.grad]
    return made


PROGRAMS = [transformed, with_tangents, in_autocast, kept_elsewhere, traced, seen_by_a_function_mode]
PROGRAMS += [seen_by_another_mode, of_a_vector, of_strided_rows]
PROGRAMS += [of_complex_numbers, without_elements]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_pytorchs_own_runs_where_more_than_a_block_sees_the_call(program, follows_cpu):
    follows_cpu(lambda tensor: [made.detach() for made in program(tensor)])


def test_what_is_checkpointed_in_a_block_is_made_again_after_it(device):
    x, weight, bias = factors(5, 7)
    with device as session:
        given = session.to_device(x).requires_grad_()
        out = checkpoint(F.linear, given, weight, bias, use_reentrant=False).sum()
    out.backward()
    torch.testing.assert_close(given.grad, weight.sum(0).expand(5, 7))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_other_threads_compile_it_while_a_block_is_open(backend, device):
    x, weight, bias = factors(2, 5, 7)
    made = []

    def compiled():
        made.append(torch.compile(lambda x: F.linear(x, weight, bias), fullgraph=True, backend=backend)(x))

    with device:
        thread = threading.Thread(target=compiled)
        thread.start()
        thread.join()
    torch.testing.assert_close(made, [F.linear(x, weight, bias)])


MULTIPLIED = {
    "matmul": lambda a, b: torch.matmul(a, b),  # looked up in the block
    "the method": lambda a, b: a.matmul(b),
    "@": lambda a, b: a @ b,
}


@pytest.mark.parametrize("name", MULTIPLIED)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_product_is_one_op(name, mode, device):
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 7, 4)
    with device as session, mode():
        given, other = session.to_device(a), session.to_device(b)
        made = MULTIPLIED[name](given, other)
        calls = dict(session.report().device_calls)
    assert ops(session) == {"matmul"}
    assert calls == {"from_torch": 2, "matmul": 1}
    torch.testing.assert_close(made, a @ b, rtol=1e-5, atol=1e-5)


def products(tensor):
    a, b, row = tensor(torch.randn(2, 3, 5, 7)), tensor(torch.randn(2, 3, 4, 7)), tensor(torch.randn(7))
    matrix = tensor(torch.randn(7, 4))
    made = [
        a @ b.transpose(-1, -2),
        a @ matrix,
        a @ row,
        row @ matrix,
        row @ row,
        matrix.t() @ matrix,
        b[0, 0] @ matrix,
    ]
    made += [a[:, :1] @ b.mT, a[0] @ b.mT, a.mT @ a, (a @ b.mT)[0], torch.matmul(a, other=matrix)]
    return [*made, *(torch.tensor(product.stride()) for product in made)]


def followed_by_autograd(tensor):
    a, b = tensor(torch.randn(2, 3, 5, 7)).requires_grad_(), tensor(torch.randn(2, 3, 4, 7)).requires_grad_()
    (a @ b.mT).square().sum().backward()
    with torch.no_grad():
        b.add_(1)
    return [a.grad, b.grad, (a @ b.mT).detach()]


def written_after(tensor):
    a, b = tensor(torch.randn(2, 3, 5, 7)), tensor(torch.randn(2, 3, 4, 7))
    first = a @ b.mT
    b[:, :, 1] = 2
    return [first, a @ b.mT, a @ b.mT.clone()]


def in_numpy_order(tensor):
    rows = tensor(torch.randn(2, 6, 3 * 3 * 32)) + 0
    query, key, value = rows.view(2, 6, 3, 3, 32).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-2, -1)
    rows.mul_(2)
    return [scores, scores @ value, query @ key.mT]


@pytest.mark.parametrize(
    "program", [products, followed_by_autograd, written_after, in_numpy_order], ids=lambda p: p.__name__
)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_products_are_those_of_the_host(program, mode, follows_cpu):
    if program is followed_by_autograd:
        mode = nullcontext

    def seeded(tensor):
        torch.manual_seed(0)
        with mode():
            return program(tensor)

    follows_cpu(seeded)


def test_a_factor_that_is_held_transposed_is_multiplied_as_it_is():
    rows = torch.randn(2, 6, 3 * 4 * 32)
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session, torch.no_grad():
        given = session.to_device(rows)
        query, key, value = given.view(2, 6, 3, 4, 32).permute(2, 0, 3, 1, 4).unbind(0)
        attended = (query @ key.transpose(-2, -1)).softmax(-1) @ value
        calls = dict(session.report().device_calls)
    del calls["from_torch"]
    assert calls == {"transformer.split_query_key_value_and_split_heads": 1, "matmul": 2, "softmax": 1}
    query, key, value = rows.view(2, 6, 3, 4, 32).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(attended, (query @ key.mT).softmax(-1) @ value, rtol=1e-4, atol=1e-4)
