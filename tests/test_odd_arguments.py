"""Arguments that few programs give: what comes of them is as on CPU, or the same exception."""

from __future__ import annotations

import math

import pytest
import torch

aten = torch.ops.aten
X = torch.arange(30.0).reshape(3, 2, 5).sin()


@pytest.mark.parametrize(
    "reduce",
    [
        lambda x: x.sum([1, 1]),
        lambda x: x.mean([0, -3]),
        lambda x: x.amax([1, -2]),
        lambda x: x.logsumexp([0, 0]),
        lambda x: torch.linalg.vector_norm(x, 3, [0, 0]),
        lambda x: torch.linalg.vector_norm(x[:1, :1, :1], 3, [0, -3]),
    ],
)
def test_a_dimension_named_twice_is_refused(reduce, same_as_cpu):
    same_as_cpu(lambda tensor: reduce(tensor(X)), raises=True)


@pytest.mark.parametrize("order", [math.nan, 1e30, -1e30, 2.5, 0])
@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 5)])
def test_norm_of_an_element_that_is_alone_is_its_size(order, shape, same_as_cpu):
    values = torch.arange(1.0, math.prod(shape) + 1).reshape(shape).neg()
    dim = [1] if len(shape) == 3 else None
    same_as_cpu(lambda tensor: torch.linalg.vector_norm(tensor(values), order, dim).tolist())


@pytest.mark.parametrize("mode", ["use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"])
@pytest.mark.parametrize("batch", [(), (2, 1)])
def test_distances_of_infinities(mode, batch, same_as_cpu):
    """By a product of matrices most are NaN."""
    rows = torch.tensor([[math.inf, 2.0], [1.0, -math.inf], [0.0, 3.0], [math.nan, 1.0]])

    def distances(tensor):
        found = torch.cdist(tensor(rows.expand(*batch, 4, 2).contiguous()), tensor(rows.neg()), compute_mode=mode)
        return str(found.round(decimals=3).tolist())

    same_as_cpu(distances)


@pytest.mark.parametrize(
    "index",
    [torch.arange(8).reshape(2, 4).t()[:, :1].clone(), torch.arange(4).reshape(4, 1), torch.arange(3)[None].t()],
)
def test_strides_of_what_is_indexed_by_a_turned_column(index, same_as_cpu):
    same_as_cpu(lambda tensor: tensor(torch.ones(8, 5, 6))[index].stride())


def test_strides_of_an_images_losses(same_as_cpu):
    target = torch.zeros(4, 5, 2, dtype=torch.int64).permute(2, 0, 1)
    scores = torch.ones(2, 3, 4, 5)
    same_as_cpu(lambda tensor: torch.nn.functional.nll_loss(tensor(scores), target, reduction="none").stride())


HEADS = torch.arange(64.0).reshape(1, 2, 4, 8).sin()


def test_a_mask_in_another_dtype_than_the_query_is_refused(same_as_cpu):
    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    mask = torch.zeros(4, 4, dtype=torch.bfloat16)
    same_as_cpu(lambda tensor: op(*[tensor(HEADS)] * 3, attn_mask=tensor(mask)), raises=True)


@pytest.mark.parametrize("odd", [0, 4])
def test_a_gradient_in_another_dtype_than_the_query_is_refused(odd, same_as_cpu):
    op = aten._scaled_dot_product_flash_attention_for_cpu_backward.default

    def gradients(tensor):
        given = [tensor(HEADS) for _ in range(5)]
        given[odd] = tensor(HEADS.bfloat16())
        return op(*given, tensor(HEADS[..., 0].contiguous()), 0.0, False)

    same_as_cpu(gradients, raises=True)


@pytest.mark.parametrize("scale", [0.0, math.inf, math.nan, 1e-300])
@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_by_an_odd_scale(scale, is_causal, same_as_cpu):
    op = aten._scaled_dot_product_flash_attention_for_cpu.default

    def attended(tensor):
        output, _ = op(*[tensor(HEADS)] * 3, is_causal=is_causal, scale=scale)
        return [output.isnan().tolist(), output.isinf().tolist(), str(output.round(decimals=3).tolist())]

    same_as_cpu(attended)


@pytest.mark.parametrize("base", [-1.0, -2.0, 2.0])
def test_powers_of_a_negative_base(base, same_as_cpu):
    same_as_cpu(lambda tensor: str(torch.logspace(tensor(torch.tensor(2.0**40)), 2, 7, base).tolist()))


def test_a_lone_power_beyond_float32_is_refused(same_as_cpu):
    same_as_cpu(lambda tensor: torch.logspace(tensor(torch.tensor(1.5)), 4, 1, 1e30).tolist(), raises=True)
    same_as_cpu(lambda tensor: torch.logspace(tensor(torch.tensor(1.5)), 4, 1, 4.0).tolist())


def test_an_epsilon_that_takes_a_variance_away(same_as_cpu):
    values = torch.tensor([[1.0, -1.0, 1.0, -1.0], [3.0, -3.0, 3.0, -3.0]])

    def normalized(tensor):
        return str(torch.nn.functional.layer_norm(tensor(values), [4], eps=-1.0).tolist())

    same_as_cpu(normalized)


def test_a_mask_of_three_dimensions_is_refused(same_as_cpu):
    op = aten._scaled_dot_product_flash_attention_for_cpu.default
    same_as_cpu(lambda tensor: op(*[tensor(HEADS)] * 3, attn_mask=tensor(torch.zeros(2, 4, 4))), raises=True)


def test_strides_of_a_log_softmax_gradient(same_as_cpu):
    def gradient(tensor):
        turned = tensor(torch.ones(5, 3)).t()
        return aten._log_softmax_backward_data(turned, tensor(torch.ones(3, 5)), 1, torch.float32).stride()

    same_as_cpu(gradient)


def test_strides_of_a_batch_norm_of_channels_last_with_a_dimension_of_one(same_as_cpu):
    images = torch.ones(2, 6, 5, 7).contiguous(memory_format=torch.channels_last)

    def normalized(tensor):
        volumes = tensor(images)[..., None]
        return torch.nn.functional.batch_norm(volumes, tensor(torch.zeros(6)), tensor(torch.ones(6))).stride()

    same_as_cpu(normalized)
