"""What an index sends to the same place, in rows too wide to compare every element with every place."""

from __future__ import annotations

import pytest
import torch

import ttreg

SUMS = ("sum", "prod", "mean")
# The shape of `self`, the dimension, and the shape of the index.
CASES = [
    ((4, 20_000), 1, (4, 20_000)),
    ((4, 20_000), -1, (3, 300)),
    ((2_000, 33), 0, (1_500, 20)),
    ((300, 4, 5), 0, (4_000, 3, 2)),
    ((2, 3, 2, 400, 5), 3, (1, 3, 1, 600, 2)),
    ((1,), 0, (3_000,)),
]


def given(shape, dim, part, dtype):
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, shape[dim], part, generator=generator)
    # Near one, so that products of thousands stay finite.
    values = [1 + (torch.rand(size, generator=generator) - 0.5) / 64 for size in (shape, part)]
    return values[0].to(dtype), index, values[1].to(dtype)


def on_device(function, *arguments):
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_fallback="raise") as session:
        result = function(*arguments)
        assert [op.placement for op in session.report().ops] == ["device"]
    return result


def assert_as_on_cpu(function, *arguments):
    torch.testing.assert_close(on_device(function, *arguments), function(*arguments), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize(("shape", "dim", "part"), CASES)
def test_reductions_along_wide_rows(shape, dim, part, how, include_self):
    arguments = given(shape, dim, part, torch.float32)
    assert_as_on_cpu(
        lambda x, index, src: x.scatter_reduce(dim, index, src, how, include_self=include_self), *arguments
    )


@pytest.mark.parametrize(("shape", "dim", "part"), CASES)
def test_sums_along_wide_rows(shape, dim, part):
    arguments = given(shape, dim, part, torch.float32)
    assert_as_on_cpu(lambda x, index, src: x.scatter_add(dim, index, src), *arguments)


@pytest.mark.parametrize("alpha", [1, -2.5])
@pytest.mark.parametrize(
    ("shape", "dim", "count"), [((1_000, 64), 0, 3_000), ((4, 2_000), 1, 5_000), ((30_000,), 0, 1)]
)
def test_added_slices(shape, dim, count, alpha):
    part = list(shape)
    part[dim] = count
    x, index, source = given(shape, dim, part, torch.float32)
    index = index.movedim(dim, 0).reshape(count, -1)[:, 0].contiguous()
    assert_as_on_cpu(lambda x, index, source: x.index_add(dim, index, source, alpha=alpha), x, index, source)


@pytest.mark.parametrize("how", SUMS)
def test_bfloat16_is_rounded_once(how):
    x, index, src = given((2, 3), 1, (2, 3_000), torch.bfloat16)
    result = on_device(lambda x, index, src: x.scatter_reduce(1, index, src, how), x, index, src)
    expected = x.float().scatter_reduce(1, index, src.float(), how)
    assert torch.equal(result, expected.bfloat16())


def test_zeros_keep_their_signs_where_nothing_goes():
    x, index, src = torch.full((2, 3), -0.0), torch.tensor([[1]]), torch.tensor([[-0.0]])
    for how in SUMS:
        assert on_device(lambda how=how: x.scatter_reduce(1, index, src, how)).signbit().tolist() == (
            x.scatter_reduce(1, index, src, how).signbit().tolist()
        )


@pytest.mark.parametrize("how", ["amax", "amin"])
def test_too_many_pairs_to_compare_are_the_hosts(how):
    arguments = given((4, 20_000), 1, (4, 200), torch.float32)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        result = arguments[0].scatter_reduce(1, *arguments[1:], how)
        (op,) = session.report().ops
    assert torch.equal(result, arguments[0].scatter_reduce(1, *arguments[1:], how))
    assert (op.placement, op.got) == ("host", "16000000")
