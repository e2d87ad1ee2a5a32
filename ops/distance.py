"""Distances between vectors: of two tensors, and of each pair of rows."""

from __future__ import annotations

from math import prod

import torch

from ..call import Call
from ..conditions import FLOATS, AtLeast, Check, OneOf, Rank, SizeAtMost
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Tensor, together
from .embedding import rows_among
from .matmul import product
from .norms import INF, OF_POWERS, ORDERS, PASSES_NAN, order_of, vector_norm_of
from .vocabulary import BF16, HELD, NAN_IS_A_NUMBER, as_shape, at_most, cast, from_sizes, reduce, widen

aten = torch.ops.aten

MOST_BY_DIFFERENCES = 25  # rows of a tensor, in PyTorch; with more it takes a product of matrices, if it may choose
PAIR = ("self", "other")
ROWS = Tensor((torch.float32,), program_dtype=True, because="on CPU it is not implemented for bfloat16")


def dist_samples():
    for order in ORDERS:
        yield Sample(rand(5, 7), rand(5, 7), order)
        yield Sample(rand(2, 3, 40, dtype=BF16), rand(33, 1, 3, 1, dtype=BF16), order)
    yield Sample(rand(), rand(33))
    yield Sample(rand(1), rand(1, 1), 1e30)
    yield Sample(rand(5, 7, dtype=BF16), rand(7))
    yield Sample(rand(5, 7), rand(5, 7).double())
    yield Sample(rand(5, 7), rand(5, 7) > 0)


def subtracts_bool(call: Call) -> str | None:
    passed = call.passed or call.arguments
    return next((name for name in PAIR if getattr(passed[name], "dtype", None) is torch.bool), None)


@lower(
    aten.dist.default,
    samples=dist_samples,
    takes=together(PAIR, FLOATS),
    when=[Check("no bool", subtracts_bool, because="PyTorch subtracts none")],
    chip=PASSES_NAN,
)
def dist(tt, self, other, p):
    difference = tt.subtract(self, other)  # rounded to the dtype, as in PyTorch
    return cast(tt, vector_norm_of(tt, widen(tt, difference), order_of(difference.shape, p)), self.dtype)


def differences(call: Call) -> int:
    x1, x2 = call["x1"].shape, call["x2"].shape
    return prod(torch.broadcast_shapes(x1[:-2], x2[:-2])) * x1[-2] * x2[-2] * x1[-1]


def odd_rows():
    """Rows with NaN and infinities."""
    return torch.tensor([[torch.nan, 1.0], [torch.inf, 2.0], [1.0, -torch.inf], [1.0, 2.0]])


def row_samples():
    for mode in (None, 0, 1, 2):
        for p in (0.0, 0.5, 1.0, 2.0, 3.0, 2.5, INF):
            yield Sample(rand(5, 7), rand(6, 7), p, mode)
            yield Sample(odd_rows(), odd_rows(), p, mode)
        yield Sample(rand(2, 3, 33, 5), rand(3, 40, 5), 2.0, mode)
        yield Sample(odd_rows().repeat(8, 1), odd_rows().neg(), 2.0, mode)
        yield Sample(odd_rows().repeat(8, 1), odd_rows()[:, None], 2.0, mode)
        yield Sample(rand(3, 1, 2, 4, 1), rand(1, 2, 2, 3, 1), 1.0, mode)
    yield Sample(rand(33, 40), rand(35, 40), 2.0, 2)
    yield Sample(rand(5, 7).double(), rand(6, 7).double(), 2.0, None)
    yield Sample(rand(5, 7), rand(6, 7), 2.0, 3)
    yield Sample(rand(1, 1, 1, 1, 2, 3), rand(2, 3), 2.0, None)
    yield Sample(rand(2, 3), rand(1, 1, 1, 1, 2, 3), 2.0, None)
    yield Sample(rand(1, 1).expand(1024, 129), rand(1, 1).expand(1024, 129), 1.0, None)


@lower(
    aten._cdist_forward.default,
    samples=row_samples,
    takes={"x1": ROWS, "x2": ROWS},
    chip=f"{OF_POWERS}; where PyTorch takes a product of matrices, {NAN_IS_A_NUMBER}",
    when=[
        OneOf("compute_mode", (None, 0, 1, 2)),
        Rank("x1", range(2, 6), because="the pairs take another dimension"),
        Rank("x2", range(2, 6), because="the pairs take another dimension"),
        at_most(HELD, "at most {} differences", differences, because="all are held at once"),
    ],
)
def cdist(tt, x1, x2, p, compute_mode):
    # The differences themselves in every mode: by a product of matrices, those of near rows lose their accuracy.
    x1, x2, dtype = widen(tt, x1), widen(tt, x2), x1.dtype
    ones, others = in_pairs(tt, x1, x2)
    apart = tt.subtract(ones, others)
    # PyTorch's largest difference leaves out NaN here, if not among the pairs of one tensor.
    norms = row_norm(tt, tt.where(tt.isnan(apart), 0.0, apart) if p == INF else apart, p)
    if p == 2 and (compute_mode == 1 or (compute_mode != 2 and max(x1.shape[-2], x2.shape[-2]) > MOST_BY_DIFFERENCES)):
        expanded = by_product(tt, x1, x2)
        norms = tt.where(tt.isfinite(expanded), norms, expanded)
    return cast(tt, norms, dtype)


def in_pairs(tt, x1, x2):
    """The rows of each tensor with a dimension more, so that each meets each of the other's."""
    *lead, rows, size = x1.shape
    ones = as_shape(tt, x1, [*lead, rows, 1, size])
    *lead, rows, size = x2.shape
    return ones, as_shape(tt, x2, [*lead, 1, rows, size])


def by_product(tt, x1, x2):
    """The square of each distance as PyTorch has it by a product of matrices, which makes NaN of most infinities."""
    if list(x1.shape)[:-2] == list(x2.shape)[:-2]:
        products = product(tt, x1, x2, transpose_b=True)
    else:
        products = reduce(tt, "sum", tt.multiply(*in_pairs(tt, x1, x2)), -1)
    first, second = (reduce(tt, "sum", tt.square(x), -1, keepdim=True) for x in (x1, x2))
    return tt.add(tt.subtract(first, tt.multiply(products, 2.0)), tt.transpose(second, -2, -1))


def row_norm(tt, differences, p):
    """The norm of the last dimension; in PyTorch NaN is not counted as 1."""
    if p == 0:
        differences, p = tt.where(tt.isnan(differences), differences, tt.ne(differences, 0.0)), 1
    return vector_norm_of(tt, differences, p, [-1])


@from_sizes
def pairs(rows: int) -> torch.Tensor:
    """The first rows of all pairs, then the second ones."""
    return torch.triu_indices(rows, rows, 1, dtype=torch.int32).view(1, -1).to(torch.uint32)


def pair_samples():
    for p in (0.0, 0.5, 1.0, 2.0, 3.0, 2.5, INF):
        yield Sample(rand(5, 7), p)
        yield Sample(odd_rows(), p)
    yield Sample(rand(40, 33))
    yield Sample(rand(2, 1))
    yield Sample(rand(5, 7).double(), 2.0)
    yield Sample(rand(1, 1).expand(257, 4), 2.0)
    yield Sample(rand(1, 1).expand(4, 513), 2.0)
    yield Sample(rand(5, 7), -1.0)
    yield Sample(rand(5, 7, 1), 2.0)


@lower(
    aten._pdist_forward.default,
    samples=pair_samples,
    takes={"self": ROWS},
    chip=OF_POWERS,
    when=[
        Rank("self", (2,), because="torch.pdist takes no others"),
        AtLeast("p", 0, because="torch.pdist takes no others"),
        SizeAtMost("self", 0, 256, because="the rows of all pairs are held at once"),
        SizeAtMost("self", 1, 512, because="the rows of all pairs are held at once"),
    ],
)
def pdist(tt, self, p):
    both = tt.constant(pairs(self.shape[0]))
    rows = rows_among(tt, self, both, [both.shape[1], self.shape[1]])
    count = rows.shape[0] // 2
    first, second = (tt.slice(rows, [start, 0], [start + count, rows.shape[1]]) for start in (0, count))
    return cast(tt, row_norm(tt, tt.subtract(widen(tt, first), widen(tt, second)), p), self.dtype)
