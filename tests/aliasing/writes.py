"""Steps that write: in place, by index, through `out`, in lists, and what changes the tensor itself."""

from __future__ import annotations

from contextlib import contextmanager

import torch

from .run import step

SHAPES = ((4, 6), (2, 3), (6,), (), (0,), (5, 5), (2, 2, 3))


@step
def add_number_(run, t, u, a, b):
    number = (1, 0.5, -1, True)[a % 4] if t.dtype.is_floating_point else 1
    return t.add_(number).clamp_(-8, 8) if b % 2 else t.sub_(number)


@step
def arithmetic_(run, t, u, a, b):
    other = run.like(t, b)
    if not run.converts(other, t.dtype):
        return
    (t.add_, t.sub_)[a % 2](other).clamp_(-8, 8)


@step
def unary_(run, t, u, a, b):
    (
        lambda: t.neg_(),
        lambda: t.abs_(),
        lambda: t.relu_(),
        lambda: t.zero_(),
        lambda: t.fill_(a % 5),
        lambda: t.mul_(-1),
        lambda: t.mul_(2).clamp_(-8, 8),
        lambda: t.clamp_(-4, 4),
        lambda: t.sign_(),
        lambda: t.logical_not_(),
        lambda: t.bitwise_not_(),
        lambda: torch.nn.functional.relu(t, inplace=True),
        lambda: torch.nn.functional.threshold(t, 1, -2, inplace=True),
        lambda: t.mul_(t).clamp_(-8, 8),
        lambda: torch.nn.init.ones_(t),
    )[b % 15]()


@step
def copy_(run, t, u, a, b):
    source = u if a % 4 == 0 else run.like(t, b)
    if run.converts(source, t.dtype):
        t.copy_(source)


@step
def fill_from_(run, t, u, a, b):
    if u.numel() and run.converts(u, t.dtype) and (t.dtype.is_floating_point or not u.requires_grad):
        t.fill_(u.flatten()[a % u.numel()])


@step
def set_slice(run, t, u, a, b):
    value = a % 3
    if b % 5 == 0:
        t[...] = value
    elif b % 5 == 1:
        t[: t.shape[0] // 2 + 1] = value
    elif b % 5 == 2:
        t[..., ::2] = value
    elif b % 5 == 3 and t.ndim:  # which of two errors comes otherwise depends on a size that is not there
        t[0] = t[-1] if a % 2 else t[-1].clone()
    else:
        t[..., a % 2] += 1


@step
def index_put_(run, t, u, a, b):
    rows = torch.tensor([0, a % 2])
    if b % 4 == 0:
        t.index_put_((rows,), torch.tensor(3).to(t.dtype), accumulate=False)
    elif b % 4 == 1:
        t[rows] = t[rows.flip(0)] if run.regular(t) else 1
    elif b % 4 == 2:
        t[t > 1] = a % 3
    else:
        other = run.like(t, a)
        t.index_put_((rows,), other[rows] if run.regular(other) else other[:2], accumulate=True)
        t.clamp_(-8, 8)


@step
def indexed_(run, t, u, a, b):
    rows, value = torch.tensor([1, 0]), a % 3
    (
        lambda: t.masked_fill_(run.like(t, a) > 0, value),
        lambda: t.index_fill_(0, rows, value),
        lambda: t.index_add_(0, rows, t[:2]).clamp_(-8, 8),
        lambda: t.index_copy_(0, rows, run.like(t, a)[:2]),
        lambda: t.scatter_(0, torch.zeros((1,) * t.ndim, dtype=torch.int64), value),
        lambda: t.put_(torch.tensor([0, 1]), torch.tensor([1, 2]).to(t.dtype)),
        lambda: t.masked_scatter_(run.like(t, a) > 0, run.like(t, a + 1)),
        lambda: t.fill_diagonal_(value),
        lambda: t.cumsum_(0).clamp_(-8, 8),
        lambda: t.tril_(),
        lambda: t.masked_fill_(t > 0, run.like(t, a).flatten()[0]),
    )[b % 11]()


@step
def out(run, t, u, a, b):
    x, y = run.like(u, a), run.like(t, b)
    if not (run.converts(u, t.dtype) and run.converts(x, t.dtype) and run.converts(y, t.dtype)):
        return
    if u is t and a % 10 == 5:
        return  # what `torch.max` does to an argument that is its `out` too is nobody's to rely on
    with new_memory_filled(t, always=u is t):
        out_of(t, u, x, y)[a % 10]()


def out_of(t, u, x, y):
    return (
        lambda: torch.add(y, 1, out=t),
        lambda: torch.maximum(u, x, out=t),
        lambda: torch.neg(y, out=t),
        lambda: torch.cat([u, u], out=t),
        lambda: torch.eq(y, y, out=t),
        lambda: torch.max(u, 0, out=(t, torch.empty(0, dtype=torch.int64))),
        lambda: torch.clamp(t, -4, 4, out=t),
        lambda: torch.index_select(u, 0, torch.tensor([0]), out=t),
        lambda: torch.stack([y, y], out=t),
        lambda: torch.where(y > 0, y, t, out=t),
    )


def of_inference(*tensors):
    """Whether PyTorch refuses to write to one of them outside of inference mode.

    Inside a block it does so for a list when all of it has been written, and not for `set_` to part of a storage.
    """
    return not torch.is_inference_mode_enabled() and any(tensor.is_inference() for tensor in tensors)


@step
def foreach_(run, t, u, a, b):
    tensors = [t, u] if b % 2 else [t, run.like(t, a)]
    if not all(run.converts(x, y.dtype) for x in tensors for y in tensors) or of_inference(*tensors):
        return
    (
        lambda: torch._foreach_add_(tensors, 1),
        lambda: torch._foreach_neg_(tensors),
        lambda: torch._foreach_zero_(tensors),
        lambda: torch._foreach_copy_(tensors[:1], tensors[1:]),
        lambda: torch._foreach_mul_(tensors, [1, -1]),
        lambda: torch._foreach_add_(tensors[:1], tensors[1:]),
        lambda: torch._foreach_maximum_(tensors, 0),
    )[a % 7]()
    torch._foreach_clamp_min_(tensors, -8)
    torch._foreach_clamp_max_(tensors, 8)


@step
def turn_(run, t, u, a, b):
    (
        lambda: t.t_(),
        lambda: t.transpose_(0, -1),
        lambda: t.squeeze_(),
        lambda: t.squeeze_(b % 2),
        lambda: t.unsqueeze_(b % 3 - 1),
        lambda: t.swapaxes_(0, -1),
        lambda: t.as_strided_((2, 2), (1, 2)),
        lambda: None if run.takes("enter_grad_mode") else t.detach_(),
    )[a % 8]()


@step
def resize_(run, t, u, a, b):
    with new_memory_filled(t):
        t.resize_as_(u) if a % 4 == 0 else t.resize_(SHAPES[b % len(SHAPES)])


@contextmanager
def new_memory_filled(t, always=True):
    """What a tensor gains when it is resized holds anything: fill it, if only because the op raised afterwards."""
    geometry, done = (t.shape, t.stride()), False
    try:
        yield
        done = not always
    finally:
        if not done and (t.shape, t.stride()) != geometry:
            t.fill_(2)


@step
def set_(run, t, u, a, b):
    if of_inference(t):
        return
    fits = t.itemsize <= u.itemsize  # what is added to the memory holds anything
    run.bits |= a % 5 in (1, 2) and t.dtype != u.dtype
    (
        lambda: t.set_(u),
        lambda: t.set_(u.untyped_storage()) if t.is_contiguous() else None,  # else it can leave strides too large
        lambda: t.set_(u.untyped_storage(), u.storage_offset(), u.shape, u.stride()) if fits else None,
        lambda: t.set_(t, 0, (2,), (1,)) if t.numel() > 1 else None,
        lambda: t.set_(),
    )[a % 5]()


@step
def set_data(run, t, u, a, b):
    if run.inside:  # elsewhere it cannot be followed, as the README says
        t.data = u
