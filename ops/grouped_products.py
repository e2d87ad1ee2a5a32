"""Matrix products of groups of rows or columns, each with a matrix of its own, as experts of a layer have them."""

from __future__ import annotations

import torch

from ..call import Call
from ..conditions import FLOATS, Check, Is, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Multiplied, Segments
from ._places import between
from .vocabulary import (
    HELD,
    NAN_IS_A_NUMBER,
    accurate,
    as_out,
    as_shape,
    at_most,
    cast,
    reduce,
    shape_of,
)

aten = torch.ops.aten


class _Ends(Segments):
    """The ends of consecutive groups, the last of which is that of all elements: others leave results undefined."""

    def ready(self, index: torch.Tensor, bound: tuple[int, bool]) -> torch.Tensor | None:
        return super().ready(torch.nn.functional.pad(index, (1, 0)), (bound[0], True))

    def says(self) -> str:
        return "as the bounds of groups that hold every element"


def grouped(call: Call) -> int:
    """The size of the dimension that is grouped: the rows of `self`, the columns of `mat2`, or what is summed over."""
    first, second = call["self"], call["mat2"]
    return second.shape[-1] if first.ndim == 3 else first.shape[0 if second.ndim == 3 else -1]


def held_at_once(call: Call) -> int:
    if call["offs"] is None:
        return 0
    (rows, inner), columns = call["self"].shape[-2:], call["mat2"].shape[-1]
    return call["offs"].numel * (rows * inner + inner * columns + rows * columns)


def other_groups(call: Call) -> str | None:
    matrices = {mat.shape[0] for mat in (call["self"], call["mat2"]) if mat.ndim == 3}
    groups = matrices | ({call["offs"].numel} if call["offs"] is not None else set())
    return f"{sorted(groups)}" if len(groups) > 1 else None


def padded(call: Call) -> str | None:
    columns = call["mat2"].shape[-1]
    return f"{columns} columns" if columns * call["self"].dtype.itemsize % 16 else None


def products():
    ends = torch.tensor([2, 2, 8], dtype=torch.int32)
    for dtype in FLOATS:
        yield Sample(rand(8, 16, dtype=dtype), rand(3, 16, 24, dtype=dtype), ends)
        yield Sample(rand(8, 16, dtype=dtype), rand(3, 40, 16, dtype=dtype).transpose(1, 2), ends)
        yield Sample(rand(16, 8, dtype=dtype), rand(8, 24, dtype=dtype), ends)
        yield Sample(rand(8, 16, dtype=dtype).t(), rand(8, 24, dtype=dtype), ends)
        yield Sample(rand(3, 4, 16, dtype=dtype), rand(16, 8, dtype=dtype), ends)
        yield Sample(rand(3, 4, 16, dtype=dtype), rand(3, 16, 8, dtype=dtype))
    rows = rand(8, 16)
    rows[0], rows[3, 2] = torch.inf, torch.nan  # of other groups nothing reaches a row
    yield Sample(rows, rand(3, 16, 24), ends)
    yield Sample(rows.t().contiguous(), rand(8, 24), ends)
    yield Sample(rand(1, 32), rand(4, 32, 32), torch.tensor([0, 0, 1, 1], dtype=torch.int32))
    yield Sample(rand(70, 64), rand(2, 64, 32), torch.tensor([33, 70], dtype=torch.int32))
    yield Sample(rand(8, 16).double(), rand(3, 16, 24).double(), ends)
    yield Sample(rand(8, 16), rand(3, 16, 24, dtype=torch.bfloat16), ends)
    yield Sample(rand(8, 16), rand(2, 16, 24), ends)
    yield Sample(rand(8, 16), rand(3, 16, 24), ends.long())
    yield Sample(rand(8, 16), rand(3, 16, 24), ends, rand(3, 24))
    yield Sample(rand(8, 16), rand(3, 16, 24), ends, out_dtype=torch.bfloat16)
    yield Sample(rand(8, 16, dtype=torch.bfloat16), rand(3, 20, 16, dtype=torch.bfloat16).transpose(1, 2), ends)
    yield Sample(rand(4096, 64), rand(64, 64, 8), 64 * torch.arange(1, 65, dtype=torch.int32))


@lower(
    aten._grouped_mm.default,
    samples=products,
    takes={
        "self": Multiplied(FLOATS, first=True),
        "mat2": Multiplied(FLOATS),
        "offs": _Ends((torch.int32,), of=grouped, offsets=True, as_numbers=True),
    },
    when=[
        SameDtype(("self", "mat2")),
        Is("bias", None, because="PyTorch does not support it yet"),
        Is("out_dtype", None, because="PyTorch takes that of the factors alone"),
        Check("a matrix for each group", other_groups, because="PyTorch raises"),
        Check("rows of the result of whole 16 bytes", padded, because="PyTorch leaves a gap behind others"),
        at_most(
            HELD,
            "at most {} elements of the factors and results of all groups",
            held_at_once,
            because="ttnn has no product of groups whose sizes are data, so each group's is made of all rows",
        ),
    ],
    chip=NAN_IS_A_NUMBER,
)
def grouped_mm(tt, self, mat2, offs, out):
    if offs is None:
        return as_out(tt, product(tt, self, mat2), out)
    (rows, inner), columns = shape_of(self)[-2:], mat2.shape[-1]
    groups = next((factor.shape[0] for factor in (self, mat2) if len(factor.shape) == 3), out.shape[0])
    first, second = (of_each(tt, factor, groups) for factor in (self, mat2))
    if len(self.shape) == len(mat2.shape) == 2:
        # What is summed over is grouped: elsewhere both are 0, so that no infinity of another group makes NaN.
        first = tt.where(member(tt, offs, [groups, rows, inner], -1, first.dtype), first, 0.0)
        second = tt.where(member(tt, offs, [groups, inner, columns], -2, second.dtype), second, 0.0)
        return as_out(tt, product(tt, first, second), out)
    here = member(tt, offs, [groups, rows, columns], -2 if len(self.shape) == 2 else -1, tt.float32)
    made = tt.where(here, product(tt, first, second), 0.0)
    return as_out(tt, as_shape(tt, reduce(tt, "sum", made, 0), [rows, columns]), out)


def product(tt, first, second):
    return tt.matmul(first, second, compute_kernel_config=accurate(tt), dtype=tt.float32)


def of_each(tt, factor, groups):
    """The factor of each group: one that all share is repeated."""
    if len(factor.shape) == 3:
        return factor
    return tt.expand(as_shape(tt, factor, [1, *shape_of(factor)]), [groups, *shape_of(factor)])


def member(tt, offs, shape, dim, dtype):
    """Ones where a place along the dimension lies in a group, which is the first dimension."""
    along = [size if place in (0, len(shape) + dim) else 1 for place, size in enumerate(shape)]
    return tt.expand(cast(tt, as_shape(tt, between(tt, offs, 1, shape[dim]), along), dtype), shape)
