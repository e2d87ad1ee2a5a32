"""Ops that put tensors together, repeat, shift or rearrange them."""

from __future__ import annotations

from math import prod

import torch

from ..apart import Labels
from ..conditions import FLOATS, MOVABLE, SizeAtMost
from ..images import Image
from ..registry import decomposed, lower
from ..room import InRoom
from ..samples import Sample, bools, ints, rand
from ..specs import together
from ._growing import appended
from .vocabulary import as_shape, from_sizes, moves_narrow, shape_of, torch_dtype

aten = torch.ops.aten


# How many elements of a row ttnn's concat keeps in L1, in any dtype; repeat keeps more than one.
CONCAT_ROW = 262144
REPEAT_ROW = 32768


def each_dtype(shape, *arguments, **keywords):
    """A sample for each dtype that can be moved, and one that cannot."""
    for dtype in MOVABLE:
        yield Sample(ints(*shape, high=2).to(dtype), *arguments, **keywords)
    yield Sample(rand(*shape).double(), *arguments, **keywords)


def cat_samples():
    for dtype in MOVABLE:
        yield Sample([ints(2, 3, high=2).to(dtype), ints(4, 3, high=2).to(dtype)])
    for dtype in FLOATS:
        yield Sample([rand(5, 7, dtype=dtype)] * 3, -1)
        yield Sample([rand(2, 33, 5, dtype=dtype), rand(2, 32, 5, dtype=dtype), rand(2, 1, 5, dtype=dtype)], 1)
        yield Sample([rand(4, dtype=dtype), rand(5, dtype=dtype)], 0)
        yield Sample([rand(1, 2, 2, 3, 5, dtype=dtype)] * 2, 2)
        yield Sample([rand(5, 7, dtype=dtype)], 1)
    yield Sample([rand(2, 3), rand(2, 3, dtype=torch.bfloat16), ints(2, 3, dtype=torch.int32), bools(2, 3)], 1)
    yield Sample([ints(2, 3, dtype=torch.uint8), ints(2, 3, dtype=torch.int32), bools(2, 3)])
    yield Sample([torch.empty(0), rand(2, 3), torch.empty(2, 0)], -1)
    yield Sample([torch.empty(0), rand(2, 3, 4, dtype=torch.bfloat16)], -2)
    yield Sample([ints(2, 3), ints(2, 3)])
    yield Sample([rand(1, CONCAT_ROW + 1)] * 2)


ROWS_CONCATENATED = SizeAtMost("tensors", -1, CONCAT_ROW, because="ttnn.concat keeps a row in L1")


def of_channels(call):
    """Whether images in floating point are concatenated along their channels."""
    first, *_ = metas = call["tensors"]
    return first.ndim > 2 and call["dim"] % first.ndim == 1 and all(meta.dtype in FLOATS for meta in metas)


def joined(call, outputs):
    """All dimensions but that along which several tensors are put together; those without elements do not count."""
    rank, along = outputs[0].ndim, call["dim"] % outputs[0].ndim
    alone = sum(1 for meta in call["tensors"] if meta.numel) == 1
    names = tuple(dim if alone or dim != along else None for dim in range(rank))
    return Labels({"tensors": tuple(names if m.numel else (None,) * m.ndim for m in call["tensors"])}, (names,))


@lower(
    aten.cat.default,
    samples=cat_samples,
    takes=together(["tensors"], MOVABLE, may_be_empty=True, images=of_channels),
    when=[ROWS_CONCATENATED],
    in_room=InRoom(appended, grows=True),
    apart=joined,
)
@moves_narrow
def cat(tt, tensors, dim):
    tensors = [tensor for tensor in tensors if tensor is not None]
    if isinstance(tensors[0], Image):
        return tensors[0].like(tt.concat([image.value for image in tensors], len(tensors[0].value.shape) - 1))
    return tensors[0] if len(tensors) == 1 else tt.concat(tensors, dim % len(tensors[0].shape))


def stack_samples():
    for dtype in MOVABLE:
        yield Sample([ints(5, 7, high=2).to(dtype), ints(5, 7, high=2).to(dtype)])
    for dtype in FLOATS:
        yield Sample([rand(5, 7, dtype=dtype)] * 3, -1)
        yield Sample([rand(2, 33, 5, dtype=dtype)] * 2, -3)
        yield Sample([rand(dtype=dtype)] * 2)
        yield Sample([rand(5, dtype=dtype)], 1)
    yield Sample([rand(2, 3), ints(2, 3, dtype=torch.int32)], 1)
    yield Sample([ints(2, 3), ints(2, 3)])
    yield Sample([rand(1, CONCAT_ROW + 1)] * 2)


def stacked(call, outputs):
    """All dimensions of the tensors, between which the new one lies."""
    metas, along = call["tensors"], call["dim"] % outputs[0].ndim
    names = tuple(range(metas[0].ndim))
    return Labels({"tensors": (names,) * len(metas)}, ((*names[:along], None, *names[along:]),))


@lower(
    aten.stack.default,
    samples=stack_samples,
    takes=together(["tensors"], MOVABLE),
    when=[ROWS_CONCATENATED],
    apart=stacked,
)
@moves_narrow
def stack(tt, tensors, dim):
    return tt.stack(tensors, dim % (len(tensors[0].shape) + 1))


def repeat_samples():
    yield from each_dtype((2, 3), [2, 3])
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [3, 1, 2])
        yield Sample(rand(33, 40, dtype=dtype), [1, 2])
        yield Sample(rand(5, dtype=dtype), [2, 2, 2, 2])
        yield Sample(rand(dtype=dtype), [3])
        yield Sample(rand(dtype=dtype), [])
        yield Sample(rand(1, 2, 1, 3, 4, dtype=dtype), [2, 1, 3, 1, 2])
    yield Sample(rand(2, REPEAT_ROW + 1), [1, 2])


@lower(
    aten.repeat.default,
    samples=repeat_samples,
    takes=MOVABLE,
    when=[SizeAtMost("self", -1, REPEAT_ROW, because="ttnn.repeat keeps rows in L1")],
)
@moves_narrow
def repeat(tt, self, repeats):
    if set(repeats) <= {1}:
        return as_shape(tt, self, [1] * (len(repeats) - len(self.shape)) + shape_of(self))
    return tt.repeat(self, list(repeats))


def roll_samples():
    yield from each_dtype((4, 6), [1], [0])
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), [2])
        yield Sample(rand(5, 7, dtype=dtype), [-3, 12], [0, -1])
        yield Sample(rand(2, 33, 40, dtype=dtype), [20, 1, 4], [1, 0, 1])
        yield Sample(rand(2, 3, 4, 5, dtype=dtype), [1, 2], [2, 3])
        yield Sample(rand(9, dtype=dtype), [4], [0])
    yield Sample(rand(), [1])
    yield Sample(rand(2, CONCAT_ROW + 1), [1], [0])


@lower(
    aten.roll.default,
    samples=roll_samples,
    takes=MOVABLE,
    when=[SizeAtMost("self", -1, CONCAT_ROW, because="ttnn.roll concatenates, and keeps a row in L1")],
)
@moves_narrow
def roll(tt, self, shifts, dims):
    shape, rank = shape_of(self), len(self.shape)
    if rank == 0:
        return self
    if not dims:
        return tt.reshape(roll(tt, tt.reshape(self, [prod(self.shape)]), shifts, [0]), shape)
    dims = [dim % rank for dim in dims]
    return tt.roll(self, [shift % shape[dim] for shift, dim in zip(shifts, dims, strict=True)], dims)


@from_sizes
def triangle(part, rows, columns, diagonal, dtype):
    """Ones where `tril` or `triu` keeps a matrix, zeros elsewhere."""
    return part(torch.ones(rows, columns, dtype=dtype), diagonal)


def triangle_samples():
    yield from each_dtype((5, 7))
    for dtype in FLOATS:
        yield Sample(rand(5, 7, dtype=dtype), 2)
        yield Sample(rand(33, 40, dtype=dtype), -3)
        yield Sample(rand(2, 3, 7, 5, dtype=dtype), 1)
        yield Sample(rand(3, 3, dtype=dtype), 100)
    yield Sample(torch.full((5, 5), float("-inf")), 1)


def lower_triangle(op, part):
    @lower(op, samples=triangle_samples, takes=MOVABLE)
    @moves_narrow
    def triangular(tt, self, diagonal):
        # ttnn.tril and ttnn.triu multiply by such a mask, which makes NaN of infinities (tt-metal issue 52038).
        mask = tt.constant(triangle(part, *shape_of(self)[-2:], diagonal, torch_dtype(tt, self)))
        return tt.where(mask, self, 0)


lower_triangle(aten.tril.default, torch.tril)
lower_triangle(aten.triu.default, torch.triu)


def rearranged(tt, x, shape, order, result):
    """`x` as `shape`, its dimensions permuted to `order`, as `result`."""
    return tt.reshape(tt.permute(tt.reshape(x, shape), order), result)


def pixel_shuffle_samples():
    yield from each_dtype((1, 4, 3, 5), 2)
    for dtype in FLOATS:
        yield Sample(rand(2, 18, 5, 7, dtype=dtype), 3)
        yield Sample(rand(4, 5, 7, dtype=dtype), 2)
        yield Sample(rand(2, 2, 4, 2, 3, dtype=dtype), 2)


@lower(aten.pixel_shuffle.default, samples=pixel_shuffle_samples, takes=MOVABLE)
@moves_narrow
def pixel_shuffle(tt, self, upscale_factor):
    r = upscale_factor
    *batch, c, h, w = shape_of(self)
    shape = [torch.Size(batch).numel(), c // r**2, r, r, h, w]
    return rearranged(tt, self, shape, [0, 1, 4, 2, 5, 3], [*batch, c // r**2, h * r, w * r])


def pixel_unshuffle_samples():
    yield from each_dtype((1, 1, 6, 4), 2)
    for dtype in FLOATS:
        yield Sample(rand(2, 2, 9, 12, dtype=dtype), 3)
        yield Sample(rand(4, 8, 6, dtype=dtype), 2)


@lower(aten.pixel_unshuffle.default, samples=pixel_unshuffle_samples, takes=MOVABLE)
@moves_narrow
def pixel_unshuffle(tt, self, downscale_factor):
    r = downscale_factor
    *batch, c, h, w = shape_of(self)
    shape = [torch.Size(batch).numel(), c, h // r, r, w // r, r]
    return rearranged(tt, self, shape, [0, 1, 3, 5, 2, 4], [*batch, c * r**2, h // r, w // r])


def channel_shuffle_samples():
    yield from each_dtype((1, 4, 3, 5), 2)
    for dtype in FLOATS:
        yield Sample(rand(2, 6, 5, 7, dtype=dtype), 3)
        yield Sample(rand(2, 6, 5, dtype=dtype), 2)


@lower(aten.channel_shuffle.default, samples=channel_shuffle_samples, takes=MOVABLE)
@moves_narrow
def channel_shuffle(tt, self, groups):
    n, c, *rest = shape_of(self)
    shape = [n, groups, c // groups, torch.Size(rest).numel()]
    return rearranged(tt, self, shape, [0, 2, 1, 3], [n, c, *rest])


VIEWS_AND_CATS = "PyTorch's decomposition makes it of views, flips and concatenations"
decomposed(aten.rot90.default, because=VIEWS_AND_CATS, samples=lambda: [Sample(rand(4, 5), 1, [0, 1])])
decomposed(aten.narrow_copy.default, because=VIEWS_AND_CATS, samples=lambda: [Sample(rand(4, 5), 0, 1, 2)])
