"""Steps that take views, and those that return a tensor or its copy, as its strides have it."""

from __future__ import annotations

from itertools import permutations

import torch

from .run import step

BITS = (torch.int32, torch.float32, torch.int16, torch.bfloat16, torch.uint8, torch.int64)
FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last)


@step
def view(run, t, u, a, b):
    columns = (1, 2, 3, 4, t.numel())[a % 5]
    return t.view(-1) if a % 2 else t.view(-1, max(columns, 1))


@step
def view_dtype(run, t, u, a, b):
    if torch.is_inference_mode_enabled() != t.is_inference():
        return None  # of all views, this one is an inference tensor if it is taken in inference mode
    if t.dtype is torch.bool:
        return t.view(torch.uint8)  # not back: a bool is 0 or 1
    dtype = BITS[a % len(BITS)]
    if t.shape[-1:] == (1,) and dtype.itemsize != t.itemsize:
        return None  # whether it is allowed depends on a stride that PyTorch itself is not sure of
    run.bits |= dtype != t.dtype
    return t.view(dtype)


@step
def permute(run, t, u, a, b):
    orders = list(permutations(range(min(t.ndim, 4))))
    return t.permute(orders[a % len(orders)])


@step
def take_slice(run, t, u, a, b):
    dim = a % max(t.ndim, 1)
    cut = (slice(1, None), slice(0, -1), slice(None, None, 2), slice(1, 3), slice(-2, None), slice(2, 2))[b % 6]
    return t[(slice(None),) * dim + (cut,)]


@step
def take_item(run, t, u, a, b):
    index = (b % 2, (..., b % 2), None, -1, (..., None, 0), ...)[a % 6]
    if t.ndim == 0 and isinstance(index, int):
        return None  # which of two errors comes depends on a size that PyTorch reads where there is none
    return t[index]


@step
def select(run, t, u, a, b):
    return t.select(a % 4 - 2, b % 4 - 2)


@step
def narrow(run, t, u, a, b):
    return t.narrow(a % 3 - 1, b % 2, 1 + a % 2)


@step
def expand(run, t, u, a, b):
    if a % 2:
        return t[:1].expand(2 + b % 2, *t.shape[1:])
    return t.expand(2, *t.shape)


@step
def expand_as(run, t, u, a, b):
    return t.expand_as(u) if a % 2 else torch.broadcast_to(t, u.shape)


@step
def unbind(run, t, u, a, b):
    return t.unbind(a % 2)[:3]


@step
def pieces(run, t, u, a, b):
    dim = b % max(t.ndim, 1)
    size = t.shape[dim]
    return (
        lambda: t.chunk(2, dim),
        lambda: t.split(2, dim)[:3],
        lambda: t.split([1, size - 1], dim),
        lambda: t.tensor_split(2, dim),
        lambda: t.hsplit(2),
        # In inference mode, whether its pieces require grad depends on what it is made of.
        lambda: None if torch.is_inference_mode_enabled() else torch.unsafe_chunk(t, 2, dim),
    )[a % 6]()


@step
def as_strided(run, t, u, a, b):
    size, stride = (
        ((2,), (1,)),
        ((2, 2), (2, 1)),
        ((2, 3), (1, 2)),
        ((2, 2), (1, 1)),
        ((3, 2), (0, 1)),
        ((4, 6), (6, 1)),
        ((24,), (1,)),
        ((), ()),
    )[a % 8]
    return t.as_strided(size, stride, (None, 0, 1, 5)[b % 4])


@step
def turned(run, t, u, a, b):
    return (
        lambda: t.t(),
        lambda: t.transpose(0, -1),
        lambda: t.mT,
        lambda: t.movedim(0, -1),
        lambda: t.swapaxes(-1, -2),
        lambda: t.adjoint(),
    )[a % 6]()


@step
def diagonal(run, t, u, a, b):
    return t.diagonal(a % 3 - 1, 0, -1)


@step
def unfold(run, t, u, a, b):
    return t.unfold(a % 2 - 1, 1 + b % 3, 1 + a % 2)


@step
def squeezed(run, t, u, a, b):
    return (t.squeeze, lambda: t.squeeze(b % 3 - 1), lambda: t.squeeze((0, -1)))[a % 3]()


@step
def unsqueeze(run, t, u, a, b):
    return t.unsqueeze(a % 3 - 1)


@step
def unflatten(run, t, u, a, b):
    return t.unflatten(b % 2 - 1, (2, -1)) if a % 2 else t.flatten(b % 2)


@step
def the_same(run, t, u, a, b):
    return (
        lambda: t.detach(),
        lambda: torch.ops.aten.alias.default(t),
        lambda: t.view_as(t),
        lambda: t.contiguous(),
        lambda: t.to(t.dtype),
        lambda: t.reshape(-1),
        lambda: t.reshape(2, -1),
        lambda: t.ravel(),
        lambda: t.positive(),
        lambda: t.reshape_as(u),
        lambda: t.clone(memory_format=FORMATS[b % 3]),
        lambda: t.contiguous(memory_format=FORMATS[b % 3]),
        lambda: t.cpu(),
        lambda: t.type_as(t),
        lambda: t.expand(t.shape),
        lambda: t.resolve_conj().resolve_neg(),
        lambda: torch.as_tensor(t),
        lambda: torch.atleast_2d(t),
    )[a % 18]()


@step
def data(run, t, u, a, b):
    return t.data


@step
def as_complex(run, t, u, a, b):
    pairs = t if t.dtype.is_complex else torch.view_as_complex(t)
    return (lambda: pairs, pairs.conj, lambda: pairs.imag, lambda: pairs.real, lambda: pairs.conj().imag)[a % 5]()


@step
def as_real(run, t, u, a, b):
    return torch.view_as_real(t) if a % 2 else t.real
