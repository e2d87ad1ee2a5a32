"""Steps that compute, copy between host and device, read, enter blocks and leave them."""

from __future__ import annotations

import copy
import io
import pickle
from contextlib import nullcontext

import numpy as np
import torch

from .run import content, step

DTYPES = (torch.float32, torch.bfloat16, torch.int32, torch.int64, torch.bool)
MORE_DTYPES = (*DTYPES, torch.float64, torch.uint8, torch.float16)
SHAPES = ((4, 6), (6,), (3, 4, 2), (33, 40), (1, 5), (), (1, 3, 4, 2), (0, 3), (2, 20, 33))


def values(dtype: torch.dtype, count: int) -> torch.Tensor:
    """Halves from -4 to 4 or integers: a few sums of them are exact in every dtype."""
    if dtype is torch.bool:
        return torch.arange(count) % 3 == 0
    numbers = torch.arange(count) % 17 - 8
    return (numbers / 2).to(dtype) if dtype.is_floating_point else numbers.to(dtype)


@step
def new(run, t, u, a, b):
    shape = SHAPES[a // 5 % len(SHAPES)]
    x = values(DTYPES[a % 5], int(np.prod(shape))).view(shape)
    layout = b // 3 % 4
    if layout == 1:
        x = x.transpose(0, -1).contiguous().transpose(0, -1) if x.ndim else x
    elif layout == 2:
        x = torch.cat([values(x.dtype, 3), x.flatten()])[3:].view(shape)
    elif layout == 3:
        x = torch.stack([x, x], -1)[..., 1]
    return run.to_device(x) if b % 3 else x


@step
def to_device(run, t, u, a, b):
    return run.to_device(t.detach())


@step
def to_host(run, t, u, a, b):
    return torch.empty_like(t).copy_(t)


@step
def compute(run, t, u, a, b):
    x = run.like(t, b)
    return (
        lambda: (t + x).clamp(-8, 8),
        lambda: t + 1,
        lambda: t.neg(),
        lambda: t.clone(),
        lambda: torch.maximum(t, x),
        lambda: torch.where(t > 0, t, x),
        lambda: t.gt(x),  # of `t > x`, Python makes `x < t` if `x` alone is of a subclass: another layout is kept
        lambda: t == t,
        lambda: torch.cat([t, t]),
        lambda: torch.stack([t, x]),
        lambda: t.relu(),
        lambda: t.argmax(0),
        lambda: torch.max(t, -1),
        lambda: t.clamp(-4, 4),
        lambda: t.repeat(2, *(1,) * max(t.ndim - 1, 0)),
        lambda: t.new_zeros(2, 2),
        lambda: torch.zeros_like(t),
        lambda: t.logical_not(),
        lambda: t.masked_fill(t > 0, 1),
    )[a % 19]()


@step
def convolve(run, t, u, a, b):
    """A convolution that changes no value: its result is held as an image."""
    if t.ndim not in (3, 4) or t.dtype not in (torch.float32, torch.bfloat16) or run.bits:
        return None
    kernel = torch.eye(t.shape[1], dtype=t.dtype).view(t.shape[1], -1, *(1,) * (t.ndim - 2))
    function = torch.nn.functional.conv1d if t.ndim == 3 else torch.nn.functional.conv2d
    return function(t + 0, kernel)  # which makes 0 of -0, as a sum of products does


@step
def move_or_sum(run, t, u, a, b):
    rows = torch.tensor([0, 1])
    moves = (
        lambda: t.roll(1, 0),
        lambda: t[t > 0],
        lambda: t.take(rows),
        lambda: t.nonzero(),
        lambda: t.unique(),
        lambda: t.diag_embed(),
        lambda: t.tril(),
        lambda: t.flip(0),
        lambda: t[rows],
        lambda: t.index_select(0, rows),
        lambda: torch.rot90(t),
        lambda: torch.trace(t).clamp(-8, 8),
        lambda: t.cumsum(0).clamp(-8, 8).to(t.dtype),
    )
    return moves[a % (len(moves) if run.regular(t) else 7)]()


@step
def to_dtype(run, t, u, a, b):
    dtype = MORE_DTYPES[a % len(MORE_DTYPES)]
    return t.to(dtype, copy=b % 2 == 0) if run.converts(t, dtype) else None


@step
def parameter(run, t, u, a, b):
    # A write by another thread to a parameter's `.data` is not noticed, as the README says.
    if run.takes("enter_thread"):
        return None
    return torch.nn.Parameter(t, requires_grad=b % 4 == 0 and t.dtype.is_floating_point)


@step
def duplicate(run, t, u, a, b):
    pair = [t.detach(), u.detach()]
    if a % 4 == 0:
        return copy.deepcopy(pair)
    if a % 4 == 1 or run.resizes:
        return copy.copy(t)
    if a % 4 == 2:
        return pickle.loads(pickle.dumps(pair))
    file = io.BytesIO()
    torch.save(pair, file)
    file.seek(0)
    return torch.load(file)


@step
def share_with_numpy(run, t, u, a, b):
    if run.resizes:
        return None
    array = t.detach().numpy()
    run.arrays = [*run.arrays[-2:], array]
    return torch.from_numpy(array) if a % 2 else None


@step
def share_by_dlpack(run, t, u, a, b):
    return None if run.resizes else torch.from_dlpack(t.detach())


@step
def share_otherwise(run, t, u, a, b):
    if run.resizes:
        return None
    return (
        lambda: torch.tensor([], dtype=t.dtype).set_(t.untyped_storage()),
        lambda: None if run.takes("share_with_numpy", "share_by_dlpack", "write_array") else t.detach().share_memory_(),
        lambda: torch.asarray(t.detach()),
    )[a % 3]()


@step
def write_array(run, t, u, a, b):
    if run.arrays:
        array = run.arrays[b % len(run.arrays)]
        array[...] = a % 4


@step
def write_memory(run, t, u, a, b):
    if a % 2 and not run.resizes:
        t.detach().numpy()[...] = b % 4
    else:
        t.untyped_storage().fill_(0)


@step
def drop(run, t, u, a, b):
    if len(run.tensors) > 1:
        del run.tensors[a % len(run.tensors)]


@step
def read(run, t, u, a, b):
    return (
        lambda: t.tolist(),
        lambda: repr(t),
        lambda: t.flatten()[0].item() if t.numel() else None,
        lambda: bool((t > 0).any()),
        lambda: torch.equal(t, u),
        lambda: t.is_set_to(u),
        lambda: t.data_ptr() == u.data_ptr(),
        lambda: t.untyped_storage().nbytes(),
        lambda: t.detach().clone().numpy(),
        lambda: content(t),
        lambda: [int(x) for x in t.flatten()[:3] > 0],
        lambda: t._base is None,
    )[a % 12]()


@step
def enter_device(run, t, u, a, b):
    if a % 4 == 3:
        run.enter_device(again=True)
    else:
        run.enter_device(min_upload_numel=0, arch="blackhole" if b % 4 == 3 else "wormhole_b0") if a % 4 else (
            run.enter_device()
        )


@step
def enter_thread(run, t, u, a, b):
    run.enter(nullcontext(), thread=True)


@step
def enter_grad_mode(run, t, u, a, b):
    run.enter(
        (
            torch.no_grad(),
            torch.inference_mode(),
            torch.enable_grad(),
            torch.inference_mode(False),
        )[a % 4]
    )


@step
def leave(run, t, u, a, b):
    if run.blocks:
        run.leave()
