"""Tensors whose sizes vary are padded so that programs of the device fit several sizes: values, aliases, programs."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ttreg

LENGTHS = (5, 9, 17, 1, 23, 31, 33, 40, 65, 130)
COUNTS = (2, 5, 3, 1, 7, 6, 8, 4, 9, 3)


@pytest.fixture
def device():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def padded(session) -> int:
    return session.report().buckets.calls


class Encoder(nn.Module):
    """A layer of a transformer over tokens, as most are written."""

    def __init__(self, causal=False):
        super().__init__()
        self.embedded, self.places = nn.Embedding(50, 32), nn.Embedding(200, 32)
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.causal = causal

    def forward(self, ids, mask=None):
        batch, length = ids.shape
        x = self.embedded(ids) + self.places(torch.arange(length))
        parts = self.qkv(self.norm(x)).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*parts, attn_mask=mask, is_causal=self.causal)
        return x + self.out(attended.transpose(1, 2).reshape(batch, length, 32))


class Residual(nn.Module):
    """Convolutions with batch norms, pools and in-place activations, as most are written."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norms[0](self.first(x)), inplace=True), 2)
        y = self.norms[1](self.second(x))
        y += x
        return self.head(F.adaptive_avg_pool2d(F.relu_(y), 1).flatten(1))


class Rotated(nn.Module):
    """What a Llama does with each head's rows before attention, and its norm."""

    def forward(self, x):
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        angles = torch.arange(x.shape[1])[:, None] * torch.rand(8, generator=torch.Generator().manual_seed(0))
        cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
        heads = x.view(*x.shape[:2], 2, 16).transpose(1, 2)
        turned = heads * cos + torch.cat([-heads[..., 8:], heads[..., :8]], -1) * sin
        return F.scaled_dot_product_attention(turned, turned, heads, is_causal=True)


def attention_by_hand(x):
    scores = x @ x.transpose(-1, -2) / 4
    return scores.softmax(-1) @ x


def product_under_a_leading_one(x):
    """A product of rows that were a batch of one, and what follows in either shape, also in place and of a part."""
    x = x.tanh()
    made = MLP[0](x.view(-1, 16))
    parts = made.view(1, -1, 32).exp(), made[:, 3:9].sum(1), made.sum(0), made[-1] * 2
    return torch.cat([part.flatten() for part in (*parts, made.mul_(2).flip(0), made.T.contiguous())])


def seeded(module):
    torch.manual_seed(0)
    return module().eval()


def rows(*shape):
    """Tensors with so many rows, one for each length."""
    return [(torch.randn(length, *shape),) for length in LENGTHS]


def batches(*shape):
    return [(torch.randn(count, *shape),) for count in COUNTS]


def sentences(batch=1):
    return [(torch.randint(0, 50, (batch, length)),) for length in LENGTHS]


def masked_sentences():
    return [(*ids, torch.rand(1, 1, 1, ids[0].shape[1]).round().bool().logical_not()) for ids in sentences()]


torch.manual_seed(0)
MLP = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32), nn.Linear(32, 8), nn.Tanh())
PROGRAMS = {
    "rows": (lambda: MLP, lambda: rows(16)),
    "batches": (lambda: MLP, lambda: batches(16)),
    "batches of rows": (lambda: MLP, lambda: batches(7, 16)),
    "texts": (Encoder, sentences),
    "batches of texts": (Encoder, lambda: sentences(3)),
    "texts under a mask": (Encoder, masked_sentences),
    "texts seen up to each token": (lambda: Encoder(causal=True), sentences),
    "batches of images": (Residual, lambda: batches(3, 8, 8)),
    "rotary embeddings": (Rotated, lambda: [(torch.randn(1, n, 32),) for n in LENGTHS]),
    "a product under a leading one": (
        lambda: product_under_a_leading_one,
        lambda: [(torch.randn(1, n, 16),) for n in LENGTHS],
    ),
    "attention by hand": (lambda: attention_by_hand, lambda: [(torch.randn(1, n, 16),) for n in LENGTHS]),
}


def outputs(run, inputs):
    with torch.no_grad():
        return [run(*given) for given in inputs]


def close(made, wanted, **tolerance):
    for one, other in zip(made, wanted, strict=True):
        assert one.shape == other.shape
        assert one.stride() == other.stride()
        assert torch.allclose(one, other, equal_nan=True, **({"atol": 1e-5} | tolerance))


@pytest.fixture(params=PROGRAMS)
def program(request):
    torch.manual_seed(0)
    make, inputs = PROGRAMS[request.param]
    made = make()
    return made.eval() if isinstance(made, nn.Module) else made, inputs()


def test_values_are_those_of_each_size(device, program):
    run, inputs = program
    wanted = outputs(run, inputs)
    with device as session:
        made = outputs(run, inputs)
        assert padded(session) > 0
    close(made, wanted)


def test_programs_level_off(device, program):
    """Sizes between those that have been met need no program of their own."""
    run, inputs = program
    first, later = inputs[:-2], [inputs[3], *inputs[4:8], *inputs[4:8][::-1]]
    with device as session:
        outputs(run, first)
        before = session.report().programs.new
        outputs(run, later)
        outputs(run, [tuple(x[..., :27] if x.dtype is not torch.float32 else x for x in one) for one in later[1:]])
        assert session.report().programs.new == before


def test_texts_on_a_mocked_chip_need_programs_for_the_first_lengths_alone():
    model, new = seeded(Encoder), []
    with ttreg.device_mode(device="mock", min_upload_numel=0) as session:
        for length in (33, 50, 40, 61, 35, 45, 64, 57, 38):
            before = session.report().programs.new
            outputs(model, [(torch.zeros(1, length, dtype=torch.int64),)])
            new.append(session.report().programs.new - before)
    assert min(new[:3]) > 0
    assert not any(new[3:])


def test_a_program_with_few_sizes_is_not_padded(device):
    with device as session:
        for count in (5, 9, 5, 9, 5):
            outputs(MLP, [(torch.randn(count, 16),)])
        assert padded(session) == 0


def test_buckets_may_be_off():
    with ttreg.device_mode(device="emulated", min_upload_numel=0, buckets="off") as session:
        outputs(MLP, rows(16))
        assert padded(session) == 0


def test_the_report_says_what_the_padding_costs():
    found = {}
    for buckets in (32, 128):
        with ttreg.device_mode(device="emulated", min_upload_numel=0, buckets=buckets) as session:
            for length in (3, 4, 33, 70):
                outputs(nn.ReLU(), [(torch.randn(length, 32),)])
            report = session.report().buckets
            found[buckets] = report.calls, report.padding_bytes
    assert found[32] == (2, 0)  # in tiles, 33 rows take 64, and 70 take 96
    assert found[128] == (2, 32 * 32 * 4)  # 70 rows take 128


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_in_spare_places_reaches_no_others(device, number):
    """Spare rows of the logarithm are -inf, of the quotient NaN, and of the embedding those of the first index."""
    table = nn.Embedding.from_pretrained(torch.cat([torch.full((1, 16), number), torch.randn(9, 16)]))

    def run(x, ids):
        rows = [x, x.log(), x / x, table(ids)]
        return [
            *(F.scaled_dot_product_attention(a[:, None], b[:, None], b[:, None]) for a in rows for b in rows[1:]),
            *(row.softmax(-2) for row in rows),
            *(row.softmax(-1) for row in rows),
            *(row.transpose(1, 2) @ row for row in rows),
            *(row.sum(1) for row in rows),
            *(row.amax(1) for row in rows),
            *(row.mean((0, 1)) for row in rows),
            *(row.cumsum(1) for row in rows),
            *(row.flip(1) for row in rows),
            *(row.sort(1).values for row in rows),
            *(torch.cat([row, row], 1) for row in rows),
            *(row[:, -1] for row in rows),
        ]

    inputs = [(torch.rand(2, n, 16) + 0.5, torch.randint(1, 10, (2, n))) for n in (5, 9, 17, 23, 33, 40)]
    wanted = outputs(run, inputs)
    with device as session:
        made = outputs(run, inputs)
        assert padded(session) > 0
    for one, other in zip(made, wanted, strict=True):
        close(one, other, rtol=1e-4, atol=1e-4)


def warm(function, *shape):
    """Have the session meet several sizes of the function's argument."""
    for count in (5, 9, 17):
        function(torch.randn(count, *shape))


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.mul_(2),
        lambda x: x[:, 0].zero_(),
        lambda x: x[1].add_(1),
        lambda x: x[2:5].neg_(),
        lambda x: x.copy_(torch.zeros(23, 8)),
        lambda x: x.view(-1).fill_(4),
        lambda x: x.numpy().fill(5),
        lambda x: x.data.neg_(),
        lambda x: x.t().select(1, 8).mul_(7),
        lambda x: x.resize_(3, 8),
        lambda x: x.sum().item(),
        lambda x: (x.tolist(), x.add_(1)),
        lambda x: torch.add(x, 1, out=x),
    ],
)
def test_a_write_is_seen_by_all_aliases_and_by_nobody_else(device, write):
    def program():
        warm(torch.neg, 8)
        source = torch.arange(23.0 * 8).view(23, 8)
        x = torch.neg(source)
        alias, other, later = x[1], x.exp(), x * 2
        write(x)
        return source, x, alias, alias + 1, other, later, x * 3, x.t() @ torch.ones(x.shape[0])

    wanted = program()
    with device as session:
        made = program()
        assert padded(session) > 0
    for one, other in zip(made, wanted, strict=True):
        assert torch.allclose(one, other)


def test_views_of_what_is_padded(device):
    def program():
        warm(torch.neg, 6, 8)
        x = torch.neg(torch.arange(23.0 * 48).view(23, 6, 8))
        views = [
            x.flatten(0, 1),
            x.flatten(1),
            x.view(-1),
            x.transpose(0, 1),
            x.permute(2, 0, 1),
            x[3],
            x[-1],
            x[:, 2],
            x[2:9],
            x[::2],
            x[:, ::2, 3:],
            x.unsqueeze(0).expand(2, -1, -1, -1),
            x.unflatten(2, (2, 4)),
            x.view(23, 3, 16),
            x.as_strided((5, 3), (8, 1), 17),
            x.diagonal(),
            x.chunk(3)[1],
        ]
        return [made for view in views for made in (view * 2, view.clone(), view.sum(-1), view.contiguous())]

    wanted = program()
    with device as session:
        made = program()
        assert padded(session) > 10
    close(made, wanted)


def test_arguments_that_are_not_padded_alike(device):
    def program():
        warm(torch.neg, 8)
        x, y = torch.neg(torch.ones(23, 8)), torch.randn(23, 8)
        parameter, row, column = nn.Parameter(torch.randn(23, 8)), torch.randn(8), torch.randn(23, 1)
        made = torch.exp(y[:, :8].t().contiguous()).t()
        with torch.no_grad():
            return [
                x + y,
                x + parameter,
                x * row,
                x - column,
                x / x[:, :1],
                x + made,
                made + x,
                torch.where(y > 0, x, y),
            ]

    torch.manual_seed(0)
    wanted = program()
    torch.manual_seed(0)
    with device:
        made = program()
    close(made, wanted)


def test_indices_that_the_device_has_computed_are_within_bounds(device):
    table = nn.Embedding(40, 8)

    def run(x):
        return table((x * 3).to(torch.int32).clamp(min=30, max=39)), table(x.sum(-1).long())

    inputs = [(torch.randint(0, 10, (n, 4)).float(),) for n in (5, 9, 17, 23, 31)]
    wanted = outputs(run, inputs)
    with device:
        made = outputs(run, inputs)
    for one, other in zip(made, wanted, strict=True):
        close(one, other)


def test_an_index_out_of_bounds_is_still_an_error(device):
    table = nn.Embedding(10, 8)
    with device:
        outputs(table, [(torch.randint(0, 10, (n,)),) for n in (5, 9, 17, 23)])
        with pytest.raises(IndexError):
            table(torch.full((21,), 10))


def test_gradients_are_those_of_each_size(device):
    def program():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3))
        found = []
        for count in (5, 9, 17, 23, 31):
            x = torch.randn(count, 8, requires_grad=True)
            model(x).pow(2).mean().backward()
            found.append(x.grad)
        return [*found, *(parameter.grad for parameter in model.parameters())]

    wanted = program()
    with device:
        made = program()
    close(made, wanted)


@pytest.mark.parametrize(
    "keywords",
    [{"check": 0.99}, {"float32": "exact", "numerics": "chip"}, {"precision": "bfloat16"}, {"validate": True}],
)
def test_under_other_settings(keywords):
    model, inputs = seeded(Encoder), [(torch.randint(0, 50, (2, length)),) for length in (5, 9, 17, 23, 40)]
    wanted = outputs(model, inputs)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, **keywords) as session:
        made = outputs(model, inputs)
        assert padded(session) > 20
    close(made, wanted, atol=3e-2 if "precision" in keywords else 1e-5)


def test_a_buffer_that_is_filled_again_is_read_again(device):
    frame = torch.zeros(23, 16).numpy()
    with device, torch.no_grad():
        warm(MLP, 16)
        for number in range(4):
            frame[:] = number
            made = MLP(torch.from_numpy(frame))
            assert torch.allclose(made, MLP(torch.full((23, 16), float(number))))


def test_other_threads_and_blocks_read_what_is_padded(device):
    found = []
    with device:
        warm(torch.neg, 8)
        x = torch.neg(torch.ones(23, 8))
        thread = threading.Thread(target=lambda: found.append((x + 1).sum()))
        thread.start()
        thread.join()
        with ttreg.device_mode(device="emulated", min_upload_numel=0):
            found.append((x + 1).sum())
        y = x * 2
    assert [float(total) for total in found] == [0.0, 0.0]
    assert torch.equal(y + 1, torch.full((23, 8), -1.0))
