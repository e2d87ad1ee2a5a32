"""Matrix products."""

from __future__ import annotations

import torch

from ..apart import Leading, Product
from ..call import Call, describe
from ..conditions import FLOATS, Check, Rank, SameDtype
from ..registry import lower
from ..samples import Sample, rand
from ..specs import Multiplied, Turned, Weight
from .vocabulary import NAN_IS_A_NUMBER, accurate, cast, widen

aten = torch.ops.aten

ROWS = Multiplied(FLOATS, first=True, leading=True)
FIRST, SECOND = Multiplied(FLOATS, first=True), Multiplied(FLOATS)
TURNED, TURNED_WEIGHT = Multiplied(FLOATS, may_be_turned=True), Weight(FLOATS, may_be_turned=True)


def factors(*pairs):
    """Samples of two factors with these shapes: in both dtypes, in one that is refused, and mixed, which is refused."""

    def samples():
        for first, second in pairs:
            yield Sample(rand(*first), rand(*second))
            yield Sample(rand(*first, dtype=torch.bfloat16), rand(*second, dtype=torch.bfloat16))
        yield Sample(rand(*first).double(), rand(*second).double())
        yield Sample(rand(*first), rand(*second, dtype=torch.bfloat16))

    return samples


def product(tt, a, b, **arguments):
    if isinstance(b, Turned):
        b, arguments["transpose_b"] = b.value, True
    return tt.matmul(a, b, compute_kernel_config=accurate(tt), **arguments)


@lower(
    aten.mm.default,
    samples=factors(((5, 7), (7, 3)), ((64, 96), (96, 33))),
    takes={"self": ROWS, "mat2": TURNED_WEIGHT},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "mat2"))],
    apart=Leading("self", 1),
)
def mm(tt, self, mat2):
    return product(tt, self, mat2)


@lower(
    aten.bmm.default,
    samples=factors(((2, 5, 7), (2, 7, 3)), ((3, 40, 7), (3, 7, 33))),
    takes={"self": FIRST, "mat2": TURNED},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "mat2"))],
    apart=Product("self", "mat2"),
)
def bmm(tt, self, mat2):
    return product(tt, self, mat2)


@lower(
    aten.mv.default,
    samples=factors(((5, 7), (7,)), ((40, 33), (33,))),
    takes={"self": FIRST, "vec": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "vec"))],
)
def mv(tt, self, vec):
    return product(tt, self, vec)


@lower(
    aten.dot.default,
    samples=factors(((7,), (7,)), ((40,), (40,))),
    takes={"self": FIRST, "tensor": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "tensor"))],
)
def dot(tt, self, tensor):
    return product(tt, self, tensor)


@lower(
    aten.vdot.default,
    samples=factors(((7,), (7,)), ((40,), (40,))),
    takes={"self": FIRST, "other": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "other"))],
)
def vdot(tt, self, other):
    return product(tt, self, other)


def same_batch(call: Call) -> str | None:
    a, b = call["self"].shape, call["other"].shape
    return None if len(b) <= 2 or a[:-2] == b[:-2] else f"{describe(a)} and {describe(b)}"


def matmul_samples():
    yield from factors(
        ((7,), (7,)),
        ((7,), (7, 3)),
        ((5, 7), (7,)),
        ((2, 5, 7), (7,)),
        ((5, 7), (7, 3)),
        ((2, 3, 5, 7), (7, 40)),
        ((2, 3, 40, 7), (2, 3, 7, 5)),
        ((2, 2, 3, 5, 7), (2, 2, 3, 7, 5)),
    )()
    yield Sample(rand(2, 1, 5, 7), rand(3, 7, 4))


@lower(
    aten.matmul.default,
    samples=matmul_samples,
    takes={"self": ROWS, "other": TURNED_WEIGHT},
    chip=NAN_IS_A_NUMBER,
    when=[
        SameDtype(("self", "other")),
        Check("other has no batch dimensions, or those of self", same_batch, because="ttnn.matmul repeats no matrix"),
    ],
    apart=Product("self", "other"),
)
def matmul(tt, self, other):
    return product(tt, self, other)


def linear_samples():
    for shape in ((7,), (5, 7), (2, 40, 7), (2, 2, 3, 5, 7)):
        yield Sample(rand(*shape), rand(33, 7), rand(33))
        yield Sample(rand(*shape, dtype=torch.bfloat16), rand(2, 7, dtype=torch.bfloat16))
    yield Sample(rand(5, 7, dtype=torch.bfloat16), rand(2, 7, dtype=torch.bfloat16), rand(2, dtype=torch.bfloat16))
    yield Sample(rand(5, 7).double(), rand(3, 7).double())
    yield Sample(rand(5, 7), rand(3, 7, dtype=torch.bfloat16))
    yield Sample(rand(5, 7), rand(7))
    yield Sample(rand(5, 7), rand(3, 7), rand(1))


def bias_of_each(call: Call) -> str | None:
    bias = call["bias"]
    return None if bias is None or bias.shape == call["weight"].shape[:1] else describe(bias.shape)


@lower(
    aten.linear.default,
    samples=linear_samples,
    takes={"input": ROWS, "weight": Weight(FLOATS), "bias": FLOATS},
    chip=NAN_IS_A_NUMBER,
    when=[
        SameDtype(("input", "weight", "bias")),
        Rank("input", range(2, 7), because="PyTorch makes a matrix of a vector first, and so may `out=` be resized"),
        Rank("weight", (2,)),
        Check("bias.shape == weight.shape[:1]", bias_of_each, because="ttnn.linear adds a whole row"),
    ],
    apart=Leading("input", 1),
)
def linear(tt, input, weight, bias):
    return tt.linear(input, weight, bias=bias, transpose_b=True, compute_kernel_config=accurate(tt))


def add_product(tt, self, a, b, beta, alpha, reduce=None):
    """beta * self + alpha * (a @ b), rounded once; where beta is 0, nothing of self counts, not even NaN."""
    whole_row = len(b.shape) == 2 and self.shape == (b.shape[1],)
    if alpha == beta == 1 and whole_row:
        return tt.linear(a, b, bias=self, compute_kernel_config=accurate(tt))
    result = product(tt, a, b, dtype=tt.float32)
    if reduce is not None:
        result = reduce(result)
    if alpha != 1:
        result = tt.multiply(result, alpha)
    if beta != 0:
        result = tt.add(result, self if beta == 1 else tt.multiply(widen(tt, self), beta))
    return cast(tt, result, self.dtype)


def sums(first, second, *added):
    """Samples of a sum with a product: what is added in these shapes, and every case of beta and alpha."""

    def samples():
        for dtype in FLOATS:
            a, b = rand(*first, dtype=dtype), rand(*second, dtype=dtype)
            for shape in added:
                yield Sample(rand(*shape, dtype=dtype), a, b)
            yield Sample(rand(*added[-1], dtype=dtype), a, b, beta=0.5, alpha=2)
            yield Sample(torch.full(added[-1], torch.nan, dtype=dtype), a, b, beta=0)
        yield Sample(rand(*added[-1]).double(), a.double(), b.double())
        yield Sample(rand(*added[-1]), a.bfloat16(), b)

    return samples


def added_samples():
    yield from sums((5, 7), (7, 33), (33,), (5, 1), (1,), (), (5, 33))()
    yield Sample(rand(5), rand(5, 7), rand(7, 33))


def unspread(call):
    shape = torch.Size((call["mat1"].shape[0], call["mat2"].shape[1]))
    given = call["self"].shape
    spreads = len(given) <= 2 and all(n in (1, size) for n, size in zip(reversed(given), reversed(shape), strict=False))
    return None if spreads else str(call["self"])


@lower(
    aten.addmm.default,
    samples=added_samples,
    takes={"self": FLOATS, "mat1": ROWS, "mat2": Weight(FLOATS)},
    chip=NAN_IS_A_NUMBER,
    when=[
        SameDtype(("self", "mat1", "mat2")),
        Check("self spreads over the product", unspread, because="PyTorch takes no others"),
    ],
    apart=Leading("mat1", 1),
)
def addmm(tt, self, mat1, mat2, beta, alpha):
    return add_product(tt, self, mat1, mat2, beta, alpha)


@lower(
    aten.baddbmm.default,
    samples=sums((2, 5, 7), (2, 7, 33), (1, 5, 33), (33,), (2, 5, 33)),
    takes={"self": FLOATS, "batch1": FIRST, "batch2": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "batch1", "batch2"))],
)
def baddbmm(tt, self, batch1, batch2, beta, alpha):
    return add_product(tt, self, batch1, batch2, beta, alpha)


@lower(
    aten.addbmm.default,
    samples=sums((2, 5, 7), (2, 7, 33), (33,), (5, 33)),
    takes={"self": FLOATS, "batch1": FIRST, "batch2": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[SameDtype(("self", "batch1", "batch2"))],
)
def addbmm(tt, self, batch1, batch2, beta, alpha):
    def sum_batch(result):
        return tt.sum(result, dim=0, compute_kernel_config=accurate(tt))

    return add_product(tt, self, batch1, batch2, beta, alpha, sum_batch)


def added_vectors():
    yield from sums((5, 7), (7,), (), (1,), (5,))()
    yield Sample(rand(6), rand(5, 7), rand(7), beta=0)


def not_of_rows(call: Call) -> str | None:
    """The shape of `self` if PyTorch refuses it, which its metadata function does not do where beta is 0."""
    shape = call["self"].shape
    spreads = len(shape) <= 1 and call["self"].numel in (1, call["mat"].shape[0])
    return None if spreads else describe(shape)


@lower(
    aten.addmv.default,
    samples=added_vectors,
    takes={"self": FLOATS, "mat": FIRST, "vec": SECOND},
    chip=NAN_IS_A_NUMBER,
    when=[
        SameDtype(("self", "mat", "vec")),
        Check("self has one element, or one for each row of mat", not_of_rows, because="PyTorch takes no others"),
    ],
)
def addmv(tt, self, mat, vec, beta, alpha):
    return add_product(tt, self, mat, vec, beta, alpha)
