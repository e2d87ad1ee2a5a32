"""precision="bfloat16" rounds the program's float32 tensors to bfloat16 and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import ttreg

COUNT = 700  # bfloat16 has not all integers beyond 256
PLACES = torch.arange(COUNT)
WHOLE = PLACES.roll(3).int()
VALUES = (PLACES * 37 % 199 - 99).float()  # exact in bfloat16, as all that comes of them here
TRUTH = PLACES % 3 > 0
LEAST = torch.finfo(torch.float32).min


def narrow_mode(**keywords):
    return ttreg.device_mode(device="emulated", precision="bfloat16", min_upload_numel=0, **keywords)


def flat(value) -> list[torch.Tensor]:
    return [t for item in value for t in flat(item)] if isinstance(value, (list, tuple)) else [value]


PROGRAMS = {
    "scatter_add": lambda t: t(torch.zeros(COUNT)).scatter_add(0, PLACES.flip(0), t(VALUES)),
    "index_add": lambda t: t(torch.zeros(COUNT, 2)).index_add(0, PLACES.flip(0), t(VALUES[:, None].expand(-1, 2))),
    "scatter_reduce": lambda t: t(torch.zeros(COUNT)).scatter_reduce(0, PLACES.flip(0), t(VALUES), "amax"),
    "index_copy": lambda t: t(VALUES).index_copy(0, PLACES * 3 % COUNT, t(VALUES)),
    "segments": lambda t: torch.segment_reduce(t(VALUES.sign()), "sum", lengths=torch.tensor([1] * 500 + [200])),
    "indices of the largest": lambda t: (t(VALUES).argmax(), t(VALUES.view(7, 100)).max(1), t(VALUES[:199]).topk(3)),
    "order": lambda t: t(VALUES).sort(stable=True),
    "max_pool": lambda t: F.max_pool2d(t(VALUES.view(1, 1, 28, 25)), 3, 2, 1, return_indices=True),
    "interpolate": lambda t: (
        F.interpolate(t(VALUES.view(1, 1, COUNT)), 1300),
        F.interpolate(t(VALUES[None, None]), 9),
    ),
    "lookup": lambda t: (t(VALUES)[PLACES.flip(0)], F.embedding(PLACES.flip(0), t(VALUES[:, None])), t(VALUES).flip(0)),
    "triangle": lambda t: (t(VALUES.view(7, 100)).tril(), torch.diag_embed(t(VALUES[:300]))),
    "counts": lambda t: (t(TRUTH).sum(), torch.count_nonzero(t(VALUES)), t(TRUTH).sum(0, dtype=torch.int32)),
    "searched": lambda t: torch.searchsorted(t(PLACES.int()), t(WHOLE)),
    "searched for a number": lambda t: torch.searchsorted(t(PLACES.int()), 500.5),
    "searched for a tensor": lambda t: torch.bucketize(t(VALUES), t(torch.arange(-100, 100).float())),
    "made": lambda t: (torch.full_like(t(VALUES), 3), torch.zeros_like(t(VALUES)), t(VALUES).new_full((3,), 2.0)),
    "integers beside numbers": lambda t: (t(WHOLE) < 300.5, t(WHOLE) == 301.0, t(WHOLE) - 300.5 > 0.25),
    "integers beside floats": lambda t: (
        t(WHOLE) < t(VALUES),
        t(WHOLE) == t(VALUES),
        t(WHOLE) - t(VALUES.abs() + 400) > 100,
    ),
    "int64 of the host beside floats": lambda t: t(VALUES.abs() + 256) > PLACES,
    "integers divided": lambda t: (
        t(torch.tensor([1001, 2002], dtype=torch.int32)) / t(torch.tensor([1001, 1001]).int())
    ),
    "integers": lambda t: (
        t(WHOLE) * 2 + 1,
        t(WHOLE) // 7,
        t(WHOLE).clamp(3, 500),
        torch.where(t(TRUTH), t(WHOLE), 301),
    ),
    "distances": lambda t: torch.cdist(t(VALUES[:300].view(-1, 2)), t(VALUES[:300].view(-1, 2)), 0.0),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_bfloat16_holds_is_exact_in_any_number(name):
    expected = flat(PROGRAMS[name](lambda plain: plain))
    with narrow_mode(on_fallback="raise") as session:
        given = flat(PROGRAMS[name](session.to_device))
    for got, wanted in zip(given, expected, strict=True):
        assert got.dtype is wanted.dtype
        assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("upload", ["argument", "to_device", "made"])
def test_finite_values_stay_finite(upload):
    plain = torch.tensor([LEAST, -LEAST, -torch.inf, 1.0])
    with narrow_mode() as session:
        if upload == "made":
            masks = torch.full((2,), LEAST), torch.full((2,), -LEAST), torch.full((2,), -torch.inf), torch.ones(2)
            given = torch.cat([mask[:1] + torch.zeros(1) for mask in masks])
        else:
            given = (session.to_device(plain) if upload == "to_device" else plain) + torch.zeros(4)
        halves = (torch.full((1, 4), LEAST) + torch.zeros(1, 4)).softmax(-1)
    largest = torch.finfo(torch.bfloat16).max
    assert given.tolist() == [-largest, largest, -torch.inf, 1.0]
    assert halves.tolist() == [[0.25] * 4]


def test_tensors_of_the_programs_own_bfloat16_overflow_as_on_cpu():
    plain = torch.tensor([torch.finfo(torch.bfloat16).min, torch.finfo(torch.bfloat16).max, 0.5], dtype=torch.bfloat16)
    with narrow_mode() as session:
        given = session.to_device(plain) * 2
    assert given.tolist() == [-torch.inf, torch.inf, 1.0]


def test_causal_attention_sees_no_later_key_and_its_gradients_are_as_near_as_bfloat16_is():
    def program(tensor):
        inputs = [tensor(x.detach().clone()).requires_grad_() for x in drawn]
        output = F.scaled_dot_product_attention(*inputs, is_causal=True)
        output.square().sum().backward()
        return [output.detach(), *(x.grad for x in inputs)]

    generator = torch.Generator().manual_seed(20)
    drawn = [torch.randn(1, 2, 300, 8, generator=generator).bfloat16().float() for _ in range(3)]
    expected = program(lambda plain: plain)
    with narrow_mode() as session:
        given = program(session.to_device)
    for got, wanted in zip(given, expected, strict=True):
        torch.testing.assert_close(torch.tensor(got.tolist()), wanted, rtol=2e-2, atol=2e-2)


BEYOND = (3.4e38, LEAST, 3.3953e38)
BESIDE = {
    "add": lambda t, n: t + n,
    "multiply": lambda t, n: n * t,
    "alpha": lambda t, n: torch.add(t, t, alpha=n),
    "clamp": lambda t, n: t.clamp(max=n),
    "masked_fill": lambda t, n: t.masked_fill(t > 1, n),
    "fill_": lambda t, n: t.clone().fill_(n),
    "full_like": lambda t, n: torch.full_like(t, n),
    "new_full": lambda t, n: t.new_full((2,), n),
    "full": lambda t, n: torch.full((2,), n, dtype=torch.bfloat16),
    "linspace": lambda t, n: torch.linspace(0, n, 3, dtype=torch.bfloat16),
    "where": lambda t, n: torch.where(t > 1, t, n),
    "pad": lambda t, n: F.pad(t, (1, 1), value=n),
    "pow": lambda t, n: t**n,
    "less": lambda t, n: t < n,
    "hardtanh": lambda t, n: F.hardtanh(t, -abs(n), abs(n)),
    "addcmul": lambda t, n: torch.addcmul(t, t, t, value=n),
}


def told(function, *arguments) -> str:
    try:
        return str(function(*arguments).tolist())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("precision", ["preserve", "bfloat16"])
@pytest.mark.parametrize("name", BESIDE)
def test_numbers_beyond_bfloat16_beside_the_programs_own_bfloat16_are_what_they_are_on_cpu(name, precision):
    x = torch.tensor([0.5, 1.0, 2.0], dtype=torch.bfloat16)
    expected = [told(BESIDE[name], x, number) for number in BEYOND]
    with ttreg.device_mode(device="emulated", precision=precision, min_upload_numel=0) as session:
        given = [told(BESIDE[name], session.to_device(x), number) for number in BEYOND]
    assert given == expected


@pytest.mark.parametrize("number", [torch.inf, torch.nan, 3.4e38, -1, 300, 2**31, 2.7, 1.0])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool], ids=str)
def test_integers_are_padded_as_on_cpu(dtype, number, device):
    x = torch.tensor([0, 1, 1]).to(dtype)
    expected = told(lambda x: F.pad(x, (1, 2), value=number), x)
    with device as session:
        given = told(lambda x: F.pad(x, (1, 2), value=number), session.to_device(x))
    assert given == expected
