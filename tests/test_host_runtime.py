"""The host runtime: ops that the device does not run, on tensors that it holds."""

from __future__ import annotations

import math

import pytest
import torch

# PyTorch says of its sparse and quantised tensors that they are not finished.
pytestmark = pytest.mark.filterwarnings("ignore:(Sparse|torch.quantize):UserWarning")
PROGRAMS: list = []
X = torch.arange(12.0).reshape(3, 4) / 4


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_gives_what_cpu_gives(program, same_as_cpu):
    same_as_cpu(program)


@program
def shapes_that_depend_on_data(tensor):
    t = tensor(X)
    return [
        torch.nonzero(t > 1),
        torch.nonzero(t, as_tuple=True),
        t[t > 1],
        torch.masked_select(t, t < 1),
        torch.unique(t // 1),
        torch.unique(t // 1, return_inverse=True, return_counts=True),
        torch.unique_consecutive((t // 1).view(12)),
        torch.repeat_interleave(t, torch.tensor([1, 0, 2]), dim=0),
        torch.bincount(t.view(12).to(torch.int64)),
        torch.where(t > 1)[0],
        torch.argwhere(t > 2.5),
        t[(t > 1).nonzero(as_tuple=True)],
        torch.histc(t, 4),
        torch.combinations(t[0]),
    ]


@program
def non_maximum_suppression_by_hand(tensor):
    boxes = tensor(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [8, 8, 10, 10], [0, 1, 4, 4]]))
    scores = tensor(torch.tensor([0.9, 0.8, 0.7, 0.95]))
    order, kept = scores.argsort(descending=True), []
    while order.numel():
        best = order[0]
        kept.append(best.item())
        low = torch.maximum(boxes[order, :2], boxes[best, :2])
        high = torch.minimum(boxes[order, 2:], boxes[best, 2:])
        overlap = (high - low).clamp(min=0).prod(1)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        order = order[overlap / (area[order] + area[best] - overlap) <= 0.5]
    return kept


@program
def random_numbers_are_those_of_the_seed(tensor):
    torch.manual_seed(7)
    t = tensor(torch.full((4, 5), 0.5))
    generator = torch.Generator().manual_seed(3)
    return [
        torch.rand(3),
        torch.randn(2, 2),
        torch.randint(0, 9, (4,)),
        torch.randperm(5),
        torch.rand_like(t),
        torch.bernoulli(t),
        torch.nn.functional.dropout(t, 0.5),
        torch.multinomial(t, 3),
        torch.normal(t, 0.1),
        tensor(torch.zeros(3)).normal_(),
        tensor(torch.zeros(3)).uniform_(-1, 1),
        tensor(torch.zeros(3)).exponential_(),
        torch.rand(2, generator=generator),
        torch.get_rng_state().sum(),
    ]


@program
def large_integers_are_exact(tensor):
    big = torch.tensor([2**31, 2**40 + 1, -(2**62), 2**53 + 1])
    narrow = tensor(torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32))
    return [
        big + 1,
        big * 3,
        big - big.flip(0),
        big // 7,
        big % 1000,
        big.sum(),
        big.cumsum(0),
        big == big + 1,
        torch.where(big > 0, big, -big),
        narrow.long() * 4,
        narrow + 1,
        narrow.sum(),
        (tensor(X) * 0).long() + 2**40,
        torch.arange(2**33, 2**33 + 3),
        torch.cat([big, big]).view(2, 4).t(),
    ]


@program
def other_dtypes_are_exact(tensor):
    t = tensor(X)
    double, half, small = t.double() / 3, t.half(), t.to(torch.int16)
    results = [double, double.sum(), double @ double.t(), half + half, half @ half.t(), small * 3, t.to(torch.uint8)]
    mixed = [double + t, t + half, t + small, t > double, torch.cat([t, double])]
    return results, mixed


@program
def complex_numbers(tensor):
    t = tensor(X)
    z = torch.complex(t, t + 1)
    spectrum = torch.fft.fft(t)
    return [
        str(z * z),
        str(z.conj() @ z.t()),
        z.abs().double().round(decimals=4),
        z.real,
        z.imag.clone(),
        str(torch.fft.ifft(spectrum).real.round(decimals=4)),
        str(torch.view_as_real(z)),
        z.is_conj(),
        str(z.conj().resolve_conj()),
        z.angle().round(decimals=4),
    ]


@program
def linear_algebra_and_other_rare_ops(tensor):
    square = tensor(torch.tensor([[4.0, 1.0], [1.0, 3.0]]))
    return [
        torch.linalg.cholesky(square).round(decimals=4),
        torch.linalg.solve(square, torch.ones(2)).round(decimals=4),
        torch.linalg.det(square).round(decimals=4),
        torch.kthvalue(tensor(X), 2),
        torch.searchsorted(tensor(X).view(12), torch.tensor([0.3, 2.0])),
        torch.trace(tensor(X)),
        torch.einsum("ij,kj->ik", tensor(X), X),
        torch.cross(tensor(X)[:, :3], tensor(X)[:, 1:], dim=1),
        torch.special.erfinv(tensor(X) / 4).round(decimals=4),
        math.isclose(torch.linalg.norm(tensor(X)).item(), 5.6236, abs_tol=1e-3),
    ]


@program
def sparse_tensors(tensor):
    t = tensor(X)
    sparse = t.to_sparse()
    compressed = t.to_sparse_csr()
    indices = torch.tensor([[0, 2], [1, 3]])
    made = torch.sparse_coo_tensor(indices, tensor(torch.tensor([1.0, 2.0])), (3, 4))
    return [
        sparse.to_dense(),
        torch.sparse.mm(sparse, tensor(X).t()),
        (sparse + sparse).to_dense(),
        compressed.to_dense(),
        compressed @ tensor(X).t(),
        made.to_dense() + t,
        made.coalesce().values(),
        sparse.coalesce().indices(),
        t.sparse_mask(made.coalesce()).to_dense(),
    ]


@program
def sparse_tensors_share_their_values(tensor):
    values = tensor(torch.tensor([1.0, 2.0]))
    made = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), values, (3,))
    values.add_(1)
    first = made.to_dense()
    values.mul_(2)
    return first, made.to_dense(), values + 0


@program
def quantised_tensors(tensor):
    q = torch.quantize_per_tensor(tensor(X), 0.25, 2, torch.quint8)
    return (
        q.dequantize(),
        q.int_repr(),
        q.q_scale(),
        q[1].dequantize() + tensor(X)[1],
        torch.fake_quantize_per_tensor_affine(tensor(X), 0.5, 0, 0, 15),
    )


@program
def nested_tensors(tensor):
    nested = torch.nested.nested_tensor([tensor(X)[0], tensor(X)[1, :2]], layout=torch.jagged)
    doubled = nested * 2
    padded = torch.nested.to_padded_tensor(doubled, 0.0)
    return (
        [piece.clone() for piece in doubled.unbind()],
        padded,
        torch.nn.utils.rnn.pad_sequence([tensor(X)[0], X[1, :2]]),
    )


@program
def masked_in_place_writes(tensor):
    t = tensor(X)
    view = t.t()
    t[t > 2] = -1
    t.masked_scatter_(t < 0, torch.arange(12.0))
    t.put_(torch.tensor([0]), tensor(torch.tensor([4.0])))
    t.index_copy_(0, torch.tensor([1]), tensor(X)[:1])
    t.scatter_add_(1, torch.zeros(3, 1, dtype=torch.long), tensor(X)[:, :1])
    return t, view, view + 1


@program
def empty_tensors(tensor):
    t = tensor(X)
    nothing = t[:0]
    return [
        nothing + 1,
        nothing.sum(),
        torch.cat([nothing, t]),
        nothing @ t.t(),
        t[t > 99],
        nothing.t().mean(1),
        nothing.tolist(),
    ]


@program
def tensors_without_dimensions(tensor):
    t = tensor(torch.tensor(2.0))
    return [
        t + 1,
        t * t,
        t.sum(),
        t.view(1),
        t.expand(3),
        torch.stack([t, t]),
        t.unsqueeze(0) @ t.unsqueeze(0),
        t.item(),
    ]
