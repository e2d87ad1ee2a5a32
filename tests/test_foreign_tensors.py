"""Tensors of other kinds beside those of the device: sparse, nested, quantized, masked, and others' subclasses."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.masked import masked_tensor
from torch.utils._pytree import tree_map_only
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_

import ttreg
from ttreg.report import why

pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors:UserWarning",
    "ignore:The PyTorch API of MaskedTensors:UserWarning",
    "ignore:Sparse CSR tensor support:UserWarning",
    "ignore:Sparse BSR tensor support:UserWarning",
    "ignore:torch.ao.quantization:DeprecationWarning",
    "ignore:Sparse invariant checks:UserWarning",
    "ignore:torch.quantize_per_tensor:UserWarning",
)
PROGRAMS: list = []
X = torch.arange(12.0).reshape(3, 4) / 4


def program(function):
    PROGRAMS.append(function)
    return function


@pytest.fixture(scope="module", autouse=True)
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@program
def sparse_coo(tensor):
    s = tensor(X).to_sparse()
    made = torch.sparse_coo_tensor(torch.tensor([[0, 1], [2, 3]]), tensor(X)[0, :2], (3, 4))
    return [
        (s.is_sparse, s.layout, s.shape),
        (s.values(), s.indices(), s.coalesce().values(), s.to_dense(), made.t().to_dense()),
        (s @ tensor(X).t(), torch.sparse.mm(s, tensor(X).t()), tensor(X) @ made.t(), tensor(X) + made),
        ((s * 2).to_dense(), (s + s).to_dense(), torch.sparse.sum(s), tensor(X).sparse_mask(s).to_dense()),
    ]


@program
def sparse_csr_and_bsr(tensor):
    s, blocks = tensor(X).to_sparse_csr(), tensor(X[:2]).to_sparse_bsr((2, 2))
    made = torch.sparse_csr_tensor(
        torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1]), tensor(X)[0, :2], (3, 4), check_invariants=True
    )
    return s.values(), s.crow_indices(), s @ tensor(X).t(), (s * 2).to_dense(), made.to_dense(), blocks.to_dense()


@program
def gradients_through_sparse_tensors(tensor):
    x = tensor(X).requires_grad_()
    (x.to_sparse() * 2).to_dense().sum().backward()
    table = nn.Embedding.from_pretrained(X.clone(), freeze=False, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.5)
    (table(torch.tensor([0, 2, 2])) * tensor(X)).sum().backward()
    gradient = table.weight.grad.coalesce()
    optimizer.step()
    return x.grad, gradient.values(), gradient.indices(), table.weight.detach().round(decimals=3)


@program
def values_of_a_sparse_tensor_are_shared(tensor):
    values = tensor(X)[0] * 1
    s = torch.sparse_coo_tensor(torch.tensor([[0, 1, 2, 3]]), values, (4,), is_coalesced=True)
    values.add_(1)
    s.values().mul_(2)
    return values, values + 0, s.to_dense()


@program
def nested(tensor):
    strided = torch.nested.nested_tensor([tensor(X), tensor(X)[:2]])
    jagged = torch.nested.nested_tensor([tensor(X), tensor(X)[:2]], layout=torch.jagged)
    rows = torch.nested.nested_tensor_from_jagged(tensor(X), torch.tensor([0, 1, 3]))
    kept = torch.nested.as_nested_tensor([tensor(X), tensor(X)[:2]], layout=torch.jagged)
    return [
        (strided.is_nested, list((strided * 2).unbind()), nn.functional.linear(strided, tensor(X)).unbind()),
        (torch.nested.to_padded_tensor(strided, 0.0), list((jagged * 2).unbind()), (rows + 1).values()),
        (nn.functional.layer_norm(rows, [4]).values().round(decimals=3), kept.values(), kept.offsets()),
    ]


@program
def quantized(tensor):
    q = torch.quantize_per_tensor(tensor(X), 0.1, 3, torch.quint8)
    scales = tensor(torch.tensor([0.1, 0.2, 0.3])).double()
    channels = torch.quantize_per_channel(tensor(X), scales, torch.zeros(3, dtype=torch.int64), 0, torch.qint8)
    return [
        (q.is_quantized, q.dtype, q.int_repr(), q.dequantize(), q.relu().int_repr(), q.t().dequantize()),
        (channels.dequantize(), torch.fake_quantize_per_tensor_affine(tensor(X), 0.1, 3, 0, 255)),
        q.dequantize() @ tensor(X).t(),
    ]


def three_layers(size, out):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, out)).eval()


@program
def dynamically_quantized(tensor):
    model = torch.ao.quantization.quantize_dynamic(three_layers(4, 2), {nn.Linear}, torch.qint8)
    return model(tensor(X))


@pytest.mark.parametrize("config", [Int8WeightOnlyConfig, Int8DynamicActivationInt8WeightConfig])
def test_models_quantized_by_torchao(config, device):
    model, x = three_layers(64, 32), torch.linspace(-1, 1, 128).reshape(2, 64)
    quantize_(model, config())
    with torch.no_grad():
        expected = model(x)
        with device as session:
            results = [model(x), model(session.to_device(x)), three_layers(64, 32)]
            quantize_(results[2], config())
            results[2] = results[2](x)
    for result in results:
        torch.testing.assert_close(torch.tensor(result.tolist()), expected, rtol=1e-4, atol=1e-5)


@program
def masked(tensor):
    m = masked_tensor(tensor(X), tensor(X) > 1)
    return [
        ((m + 1).get_data(), (m + 1).get_mask(), m.sum().get_data(), m.to_tensor(0), (m * m).to_tensor(-1.0)),
        torch.masked.mean(tensor(X), 0, mask=tensor(X) > 1),
        torch.masked.softmax(tensor(X), 1, mask=tensor(X) >= 0).round(decimals=3),
    ]


class Unit(torch.Tensor):
    """Remembers its unit through the functions that it passes."""

    unit = ""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls):
            result.unit = next(a.unit for a in args if isinstance(a, cls))
        return result


@program
def a_users_own_torch_function(tensor):
    u = X.clone().as_subclass(Unit)
    u.unit = "m"
    results = [u * tensor(X), tensor(X) * u, u + 1, u[1:] - tensor(X)[1:]]
    plain = [r.as_subclass(torch.Tensor) for r in results]
    return [(type(r).__name__, r.unit) for r in results], plain, tensor(X).as_subclass(Unit).add(1).tolist()


class Scaled(torch.Tensor):
    """A tensor times a number, multiplied out where an op needs it."""

    @staticmethod
    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype)

    def __init__(self, values, scale):
        self.values_, self.scale = values, scale

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        plain = tree_map_only(Scaled, lambda s: s.values_ * s.scale, (args, kwargs or {}))
        return tree_map_only(torch.Tensor, lambda r: Scaled(r, 1.0), func(*plain[0], **plain[1]))


@program
def a_users_own_torch_dispatch(tensor):
    s = Scaled(tensor(X), 2.0)
    results = [s + 1, tensor(X) @ s.t(), s * tensor(X), torch.cat([s, tensor(X)]), s[1:].sum(0)]
    return [(type(r).__name__, r.values_, r.scale) for r in results], s.values_ + 1


@program
def distributed_tensors(tensor):
    mesh = init_device_mesh("cpu", (1,))
    d = distribute_tensor(tensor(X), mesh, [Shard(0)])
    e = DTensor.from_local(tensor(X), mesh, [Replicate()])
    model = distribute_module(nn.Linear(4, 2), mesh)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    model(e).sum().backward()
    product = d @ e.t() + 1
    return [
        (type(product).__name__, product.to_local(), product.full_tensor(), (d * 2).sum().full_tensor()),
        (model(e).full_tensor().detach(), model.weight.grad.full_tensor()),
        d.redistribute(mesh, [Replicate()]).to_local(),
    ]


FOREIGN = {
    "a sparse_coo tensor": lambda session: session.to_device(X).to_sparse() * 2,
    "a sparse_csr tensor": lambda session: X.to_sparse_csr() @ session.to_device(X).t(),
    "a nested tensor": lambda session: torch.nested.nested_tensor([X, X[:2]]) * 2,
    "a quantized tensor (quint8)": lambda session: torch.quantize_per_tensor(X, 0.1, 3, torch.quint8).relu(),
    "a tensor on meta": lambda session: torch.ones(3, 4, device="meta") + 1,
    "a view to be conjugated or negated": lambda session: torch.complex(X, X).conj() * 2,
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.filterwarnings("ignore")
def test_the_report_says_why_they_are_left_alone(kind, device):
    with device as session:
        FOREIGN[kind](session)
    rows = [row for row in session.report().ops if row.got == kind]
    assert rows, session.report()
    assert {row.placement for row in rows} == {"host"}
    wanted = "only ordinary CPU tensors and plain numbers"
    assert why(rows[0]) == f"{wanted}, got {kind} (symbolic and foreign calls pass through untouched)"


@pytest.mark.filterwarnings("ignore")
def test_what_passes_through_is_no_fallback_to_complain_of():
    sparse = X.to_sparse()
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_fallback="raise"):
        result = sparse * 2
    assert result.to_dense().tolist() == (X * 2).tolist()


@pytest.mark.parametrize("nested", [False, True])
def test_what_others_subclasses_call_runs_on_the_device(nested, device):
    mesh = init_device_mesh("cpu", (1,))
    model = parallelize_module(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)),
        mesh,
        {"0": ColwiseParallel(), "2": RowwiseParallel()},
    )
    quantized = three_layers(64, 32)
    quantize_(quantized, Int8WeightOnlyConfig())
    inputs = torch.linspace(-1, 1, 128).reshape(2, 64)
    scaled = Scaled(X, 2.0)

    def program():
        with torch.no_grad():
            return model(X), (Scaled(scaled, 2.0) if nested else scaled) @ X.t(), quantized(inputs)

    expected = program()
    with device as session:
        given = program()
    report = session.report()
    assert {row.placement for row in report.ops if row.op in ("aten.addmm.default", "aten.mm.default")} == {"device"}
    assert report.totals.device >= 5
    for one, other in zip(given, expected, strict=True):
        while isinstance(one, Scaled):
            one, other = one.values_ * one.scale, other.values_ * other.scale
        torch.testing.assert_close(torch.tensor(one.tolist()), other, rtol=1e-4, atol=1e-5)
