"""Tensors that grow row by row are held with spare room: values, aliases, and the programs that a device needs."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import ttreg
from ttreg.errors import SettingsError

INF = float("inf")


def grown(steps: int, *shape: int, dtype=torch.float32):
    """A cache as transformers' is made: put together with nothing, then with one row at a time."""
    torch.manual_seed(0)
    cache = torch.cat([torch.empty(0, dtype=dtype), torch.randn(*shape, dtype=dtype)], -2)
    for _ in range(steps):
        cache = torch.cat([cache, torch.randn(*shape[:-2], 1, shape[-1], dtype=dtype)], -2)
    return cache


def in_room(session) -> int:
    return session.report().buckets.calls


def attend(queries: int = 1, steps: int = 4, dtype=torch.float32, heads: int = 4, mask=None, width: int = 8):
    key, value = grown(steps, 2, heads, 5, width, dtype=dtype), grown(steps, 2, heads, 5, width, dtype=dtype)
    torch.manual_seed(1)
    query = torch.randn(2, 4, queries, width, dtype=dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=heads < 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (5, 8), (1, 31, 40)])
def test_a_tensor_that_grows_holds_what_was_appended(device, shape, dtype):
    wanted = grown(34, *shape, dtype=dtype)
    with device as session:
        made = grown(34, *shape, dtype=dtype)
        assert in_room(session) == 34
        assert made.shape == wanted.shape
        assert made.stride() == wanted.stride()
        assert torch.equal(made.sum(-1), wanted.sum(-1)) or dtype is torch.bfloat16
    assert torch.equal(made, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"queries": 3}, {"heads": 2}, {"steps": 30}])
def test_attention_sees_only_the_rows_of_the_cache(device, options, dtype):
    wanted = attend(dtype=dtype, **options)
    with device as session:
        made = attend(dtype=dtype, **options)
        assert in_room(session) > 2 * options.get("steps", 4)
    assert torch.allclose(made, wanted, atol=1e-5 if dtype is torch.float32 else 2e-2)


@pytest.mark.parametrize("min_upload_numel", [0, 200])
@pytest.mark.parametrize("shape", [(9,), (1, 9), (2, 1, 1, 9), (2, 4, 1, 1)])
def test_attention_in_room_keeps_a_mask(shape, min_upload_numel):
    mask = torch.randn(shape).masked_fill(torch.rand(shape) < 0.4, -INF)
    mask[..., 0] = 0.5
    mask = mask.expand(1, 9) if mask.ndim == 1 else mask
    wanted = attend(mask=mask)
    with ttreg.device_mode(device="emulated", min_upload_numel=min_upload_numel) as session:
        made = attend(mask=mask * torch.ones(1)), attend(mask=mask)
        assert in_room(session) > 8
    for one in made:
        assert torch.allclose(one, wanted, atol=1e-5)


def test_a_query_that_sees_nothing_gets_zeros(device):
    mask = torch.zeros(2, 1, 1, 9)
    mask[1] = -INF
    wanted = attend(mask=mask)
    with device:
        made = attend(mask=mask)
    assert torch.allclose(made, wanted, atol=1e-5)
    assert not made[1].any()


@pytest.mark.parametrize("value", [INF, float("nan"), -INF])
def test_what_is_appended_may_be_infinite(device, value):
    def program():
        cache = grown(2, 2, 5, 8)
        cache = torch.cat([cache, torch.full((2, 1, 8), value)], 1)
        return torch.cat([cache, torch.ones(2, 1, 8)], 1)

    wanted = program()
    with device as session:
        made = program()
        assert in_room(session) == 4
    assert torch.equal(made.nan_to_num(), wanted.nan_to_num())


def test_two_ends_of_one_cache_do_not_meet(device):
    def program():
        cache = grown(3, 2, 5, 8)
        ends = [torch.cat([cache, torch.full((2, 1, 8), float(n))], 1) for n in range(3)]
        ends = [torch.cat([end, torch.full((2, 1, 8), 10.0 + n)], 1) for n, end in enumerate(ends)]
        return cache, *ends

    wanted = program()
    with device:
        made = program()
    for one, other in zip(made, wanted, strict=True):
        assert torch.equal(one, other)


def written(write):
    """What is left of a cache, an alias, an older and a newer one after a write in between."""
    old = grown(3, 2, 5, 8)
    cache = torch.cat([old, torch.ones(2, 1, 8)], 1)
    alias, copy = cache[1], cache.clone()
    newer = torch.cat([cache, torch.ones(2, 1, 8)], 1)
    write(cache)
    after = torch.cat([cache, torch.full((2, 1, 8), 3.0)], 1)
    return old, cache, alias, copy, newer, after, after.transpose(0, 1) @ torch.ones(8)


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.mul_(2),
        lambda x: x[:, 0].zero_(),
        lambda x: x[0].add_(1),
        lambda x: x.copy_(torch.zeros(9, 8)),
        lambda x: x.view(-1).fill_(4),
        lambda x: x.numpy().fill(5),
        lambda x: x.data.neg_(),
        lambda x: x.select(1, 8).mul_(7),
    ],
)
def test_a_write_to_a_cache_is_seen_by_its_aliases_alone(device, write):
    wanted = written(write)
    with device:
        made = written(write)
    for one, other in zip(made, wanted, strict=True):
        assert torch.allclose(one, other)


def test_views_of_a_cache_with_room(device):
    def program():
        cache = grown(6, 2, 2, 5, 8)
        repeated = cache[:, :, None].expand(2, 2, 3, 11, 8).reshape(2, 6, 11, 8)
        return [
            repeated,
            torch.cat([repeated, torch.ones(2, 6, 1, 8)], 2),
            cache.transpose(1, 2).clone(),
            cache[:, :, 3:7].clone(),
            cache[:, 1:].clone(),
            cache.flatten(0, 1).clone(),
            cache.flatten(2).clone(),
            cache.flatten(1, 2).clone(),
            cache.index_select(0, torch.tensor([1, 1, 0])),
            cache.index_select(2, torch.tensor([10, 0])),
            cache.unflatten(3, (2, 4)).permute(3, 0, 2, 1, 4).clone(),
            cache[:, :, -1] + 1,
        ]

    wanted = program()
    with device:
        made = program()
    for one, other in zip(made, wanted, strict=True):
        assert one.stride() == other.stride()
        assert torch.equal(one, other)


def test_another_thread_reads_and_appends(device):
    found = []
    with device:
        cache = grown(3, 2, 5, 8)

        def elsewhere():
            found.append(torch.cat([cache, torch.ones(2, 1, 8)], 1).clone())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        found.append(torch.cat([cache, torch.ones(2, 1, 8)], 1))
    wanted = torch.cat([grown(3, 2, 5, 8), torch.ones(2, 1, 8)], 1)
    assert all(torch.equal(one, wanted) for one in found)


def test_an_outer_block_and_the_end_of_a_block():
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        cache = grown(3, 2, 5, 8)
        with ttreg.device_mode(device="emulated", min_upload_numel=0):
            inner = torch.cat([cache, torch.ones(2, 1, 8)], 1)
        outer = torch.cat([inner, torch.ones(2, 1, 8)], 1)
    wanted = torch.cat([grown(3, 2, 5, 8), torch.ones(2, 2, 8)], 1)
    assert torch.equal(outer, wanted)
    assert torch.equal(inner, wanted[:, :-1])
    assert torch.equal(torch.cat([inner, torch.ones(2, 1, 8)], 1), wanted)


@pytest.mark.parametrize(
    "keywords",
    [{"check": 0.99}, {"float32": "exact", "numerics": "chip"}, {"precision": "bfloat16"}, {"validate": True}],
)
def test_under_other_settings(keywords):
    wanted = attend(steps=3)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, **keywords) as session:
        made = attend(steps=3)
        assert in_room(session) == 7
    assert torch.allclose(made, wanted, atol=2e-2 if "precision" in keywords else 1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_fused_attention_where_it_is_asked_for(watched, masked):
    mask = torch.randn(2, 1, 1, 9).bfloat16() if masked else None
    wanted = attend(dtype=torch.bfloat16, width=32, mask=mask)
    calls = []
    watched(lambda name, *_: calls.append(name))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, attention="fused") as session:
        made = attend(dtype=torch.bfloat16, width=32, mask=mask)
        assert in_room(session) == 9
    assert torch.allclose(made, wanted, atol=3e-2)
    assert any("scaled_dot_product_attention" in name for name in calls)
    assert "softmax" not in calls


def test_gradients_flow_through_a_cache(device):
    def program():
        rows = [torch.full((2, 1, 8), float(n), requires_grad=True) for n in range(5)]
        cache = rows[0]
        for row in rows[1:]:
            cache = torch.cat([cache, row], 1)
        (cache**3).sum().backward()
        return [row.grad for row in rows]

    wanted = program()
    with device as session:
        made = program()
        assert in_room(session) == 3
    for one, other in zip(made, wanted, strict=True):
        assert torch.allclose(one, other)


def test_no_room_where_nothing_grows(device):
    with device as session:
        x, y = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
        for _ in range(3):
            torch.cat([x, y], 1)
        torch.cat([torch.cat([x, y], 1), torch.randn(2, 40, 8)], 1)  # more at once than goes into room
        torch.cat([torch.cat([x, y], 2), y], 2)  # columns
        torch.cat([torch.cat([x, y], 0), y], 0)
        torch.cat([torch.cat([x, y], 1), y, y], 1)
        assert in_room(session) == 0


def test_buckets_may_be_off_or_another_number_of_rows():
    calls = {}
    for buckets in ("off", 32, 64):
        with ttreg.device_mode(device="emulated", min_upload_numel=0, buckets=buckets) as session:
            made = grown(40, 2, 5, 8)
            report = session.report()
            calls[buckets] = report.buckets.calls, report.buckets.padding_bytes
        assert torch.equal(made, grown(40, 2, 5, 8))
    assert calls["off"] == (0, 0)
    assert calls[32][0] == calls[64][0] == 40
    assert 0 == calls[32][1] < calls[64][1]


@pytest.mark.parametrize("value", ["on", 0, 33, -32, True, 32.5, None])
def test_other_buckets_are_refused(value):
    with pytest.raises(SettingsError, match="expected 'off', or a multiple of 32"):
        ttreg.device_mode(buckets=value)


def test_buckets_of_the_environment(monkeypatch):
    monkeypatch.setenv("TTREG_BUCKETS", "off")
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        grown(3, 2, 5, 8)
        assert in_room(session) == 0
    monkeypatch.setenv("TTREG_BUCKETS", "64")
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        assert session.settings.buckets == 64


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["append", "append", "append", "several", "write", "part", "clone", "select", "repeat", "read"]
        ),
        st.integers(0, 7),
        st.integers(0, 7),
    ),
    min_size=4,
    max_size=14,
)


def played(steps):
    """All tensors of a program that appends to any of the caches it has, and changes, copies and reads them."""
    torch.manual_seed(0)
    caches = [torch.cat([torch.empty(0), torch.randn(2, 2, 3, 4)], -2)]
    for kind, number, place in steps:
        cache = caches[number % len(caches)]
        length = cache.shape[-2]
        if kind == "append":
            caches.append(torch.cat([cache, torch.randn(*cache.shape[:-2], 1, 4)], -2))
        elif kind == "several":
            caches.append(torch.cat([cache, torch.randn(*cache.shape[:-2], 1 + place % 3, 4)], -2))
        elif kind == "write":
            cache.mul_(1 + place)
        elif kind == "part":
            cache[..., place % length, :] = float(place)
        elif kind == "clone":
            caches.append(cache.clone())
        elif kind == "select":
            caches.append(cache.index_select(0, torch.tensor([place % cache.shape[0], 0])))
        elif kind == "repeat":
            wide = cache[:, :, None].expand(-1, -1, 2, -1, -1)
            caches.append(wide.reshape(wide.shape[0], -1, *wide.shape[3:])[:, : 1 + place % 2])
        elif kind == "read":
            cache.sum().item()
    return [*caches, *(cache * 2 for cache in caches)]


@given(STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_program_of_caches(steps):
    wanted = played(steps)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, buckets=32):
        made = played(steps)
    for one, other in zip(made, wanted, strict=True):
        assert torch.equal(one, other)
