"""Views: metadata only, until a lowering needs the view's data on the device; then the lowering here moves it."""

from __future__ import annotations

from math import prod

import torch

from ..conditions import FLOATS, MOVABLE, UNSIGNED, SizeAtMost
from ..registry import cpu_only, lower
from ..samples import Sample, ints, rand
from .vocabulary import ROW, as_shape, moves_narrow, permuted, shape_of

aten = torch.ops.aten

# An int64 tensor of the device is an op's result whose values fit (see carry.py), so its views are as good.
VIEWABLE = (*MOVABLE, *UNSIGNED, torch.int64)


def of(*cases):
    """Samples from (shape, *arguments): floats for each, the other dtypes and a refused one for the first."""

    def samples():
        shape, *arguments = cases[0]
        for dtype in (torch.int32, torch.uint8, torch.bool, torch.int64, *UNSIGNED):
            yield Sample(ints(*shape, high=2).to(dtype), *arguments)
        yield Sample(rand(*shape).double(), *arguments)
        for dtype in FLOATS:
            for shape, *arguments in cases:
                yield Sample(rand(*shape, dtype=dtype), *arguments)

    return samples


# What copies a view is lowered as the view itself: device tensors are never written to, only replaced.
for same in (
    aten.alias.default,
    aten.alias_copy.default,
    aten.detach.default,
    aten.detach_copy.default,
    aten.lift_fresh.default,
):
    lower(same, samples=of([(4, 5)], [()]), takes=VIEWABLE)(lambda tt, self: self)


view_samples = of(
    [(4, 6), [2, 12]], [(4, 6), [-1]], [(64, 96), [32, -1, 8]], [(24,), [2, 3, 4]], [(1,), []], [(), [1, 1]],
    [(2, 33, 40), [66, 40]], [(5, 7), [1, 5, 1, 7, 1, 1]], [(2, 2, 2, 2, 2, 3), [8, 12]],
)  # fmt: skip


def view(tt, self, size):
    # A view keeps the elements in row-major order, whatever the strides.
    shape = list(size)
    if -1 in shape:
        shape[shape.index(-1)] = prod(self.shape) // -prod(shape)
    return as_shape(tt, self, shape)


for op in (aten.view.default, aten.view_copy.default, aten._unsafe_view.default):
    lower(op, samples=view_samples, takes=VIEWABLE)(moves_narrow(view))


@lower(aten._reshape_alias.default, samples=of([(4, 6), [2, 12], [12, 1]], [(2, 3), [6], [1]]), takes=VIEWABLE)
@moves_narrow
def reshape_alias(tt, self, size, stride):
    # PyTorch works the strides out so that the view reads as a reshape; they are in the result's metadata.
    return as_shape(tt, self, size)


permute_samples = of(
    [(4, 6), [1, 0]], [(2, 5, 7), [2, 0, 1]], [(2, 33, 40), [0, -1, -2]], [(2, 3, 5, 7), [0, 2, 3, 1]], [(), []],
    [(5,), [0]], [(2, 3, 2, 3, 5), [4, 1, 3, 0, 2]], [(1, 2, 3, 2, 3, 2), [0, 2, 4, 1, 3, 5]],
)  # fmt: skip


@lower(aten.permute_copy.default, samples=permute_samples, takes=VIEWABLE)
@lower(aten.permute.default, samples=permute_samples, takes=VIEWABLE)
@moves_narrow
def permute(tt, self, dims):
    return permuted(tt, self, [dim % len(dims) for dim in dims])


transpose_samples = of(
    [(4, 6), 0, 1], [(2, 33, 40), -1, 0], [(2, 3, 5, 7), 1, 2], [(5,), 0, -1], [(), 0, -1],
    [(2, 2, 3, 3, 5), 2, -1], [(2, 1, 2, 3, 3, 5), 0, 4],
)  # fmt: skip


@lower(aten.transpose_copy.int, samples=transpose_samples, takes=VIEWABLE)
@lower(aten.transpose.int, samples=transpose_samples, takes=VIEWABLE)
@moves_narrow
def transpose(tt, self, dim0, dim1):
    rank = len(self.shape) or 1
    return self if dim0 % rank == dim1 % rank else tt.transpose(self, dim0 % rank, dim1 % rank)


t_samples = of([(4, 6)], [(33, 65)], [(5,)], [()])


@lower(aten.t_copy.default, samples=t_samples, takes=VIEWABLE)
@lower(aten.t.default, samples=t_samples, takes=VIEWABLE)
@moves_narrow
def t(tt, self):
    return self if len(self.shape) < 2 else tt.transpose(self, 0, 1)


def expand_samples():
    yield from of(
        [(3, 1), [3, 4]], [(3, 1), [-1, 40]], [(4,), [2, 3, 4]], [(), [2, 3]], [(1, 5, 1, 7), [2, 5, 33, -1]],
        [(1, 1), [1, 1]], [(2, 1, 2, 1, 3), [3, 2, 1, 2, 4, 3]],
    )()  # fmt: skip
    yield Sample(rand(1, 1), [2, 2], implicit=True)
    yield Sample(rand(1, ROW + 1), [2, ROW + 1])


EXPANDED = [SizeAtMost("self", -1, ROW, because="ttnn.repeat keeps rows in L1")]


@lower(aten.expand_copy.default, samples=expand_samples, takes=VIEWABLE, when=EXPANDED)
@lower(aten.expand.default, samples=expand_samples, takes=VIEWABLE, when=EXPANDED)
@moves_narrow
def expand(tt, self, size, implicit):
    # `implicit` marks broadcasting for PyTorch's own transformations; it changes nothing here.
    shape = [1] * (len(size) - len(self.shape)) + shape_of(self)
    repeats = [1 if wanted == -1 else wanted // have for wanted, have in zip(size, shape, strict=True)]
    self = as_shape(tt, self, shape)
    return self if set(repeats) <= {1} else tt.repeat(self, repeats)


squeeze_samples = of([(1, 4, 1, 5)], [(4, 5)], [(1, 1)], [()])


@lower(aten.squeeze_copy.default, samples=squeeze_samples, takes=VIEWABLE)
@lower(aten.squeeze.default, samples=squeeze_samples, takes=VIEWABLE)
@moves_narrow
def squeeze(tt, self):
    return as_shape(tt, self, [size for size in shape_of(self) if size != 1])


def squeeze_dims(tt, self, dim):
    rank = len(self.shape) or 1
    dims = {d % rank for d in (dim if isinstance(dim, (list, tuple)) else [dim])}
    return as_shape(tt, self, [size for d, size in enumerate(shape_of(self)) if size != 1 or d not in dims])


squeeze_one_samples = of([(1, 4, 1, 5), 0], [(1, 4, 1, 5), -2], [(4, 1), 0], [(), 0])
squeeze_some_samples = of([(1, 4, 1, 5), [0, -2]], [(1, 4), [0, 1]], [(), [0]])
for packet in (aten.squeeze, aten.squeeze_copy):
    lower(packet.dim, samples=squeeze_one_samples, takes=VIEWABLE)(moves_narrow(squeeze_dims))
    lower(packet.dims, samples=squeeze_some_samples, takes=VIEWABLE)(moves_narrow(squeeze_dims))


unsqueeze_samples = of([(4, 5), 1], [(33, 40), -1], [(), 0], [(2, 3, 4), -4])


@lower(aten.unsqueeze_copy.default, samples=unsqueeze_samples, takes=VIEWABLE)
@lower(aten.unsqueeze.default, samples=unsqueeze_samples, takes=VIEWABLE)
@moves_narrow
def unsqueeze(tt, self, dim):
    shape = shape_of(self)
    shape.insert(dim % (len(shape) + 1), 1)
    return tt.reshape(self, shape)


cpu_only(
    aten.as_strided.default,
    because="ttnn tensors have no strides, and the strides need not come from a sequence of other views",
    samples=lambda: [Sample(rand(4, 5), [2, 3], [1, 2])],
)
cpu_only(
    aten.view.dtype,
    because="ttnn.bitcast keeps the size of an element, and tiles do not lie in memory as rows do",
    samples=lambda: [Sample(rand(4, 5), torch.int32)],
)
