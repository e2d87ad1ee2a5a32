"""Chains of views are made from the value of the storage at once: what each gives, and in which ttnn calls."""

import random
from math import prod

import pytest
import torch

import ttreg
from ttreg.memory.relayout import route
from ttreg.meta import meta_of


def turned(x, rng):
    """Some view of a tensor."""
    dim = rng.randrange(x.ndim) if x.ndim else 0
    size = x.shape[dim] if x.ndim else 1
    start = rng.randrange(size)
    views = {
        "permute": lambda: x.permute(rng.sample(range(x.ndim), x.ndim)),
        "unsqueeze": lambda: x.unsqueeze(dim),
        "squeeze": x.squeeze,
        "slice": lambda: x.narrow(dim, start, rng.randrange(start, size) + 1 - start),
        "steps": lambda: x[(slice(None),) * dim + (slice(start, None, rng.choice((2, 3))),)],
        "select": lambda: x.select(dim, start),
        "unflatten": lambda: x.unflatten(dim, (-1, rng.choice([n for n in range(1, size + 1) if size % n == 0]))),
        "flatten": lambda: x.flatten(dim) if x.is_contiguous() else x,
        "expand": lambda: x.expand([3 if size == 1 and rng.random() < 0.5 else size for size in x.shape]),
        "windows": lambda: x.unfold(dim, rng.randrange(1, size + 1), 2),
    }
    name = rng.choice([name for name in views if x.ndim or name in ("unsqueeze", "squeeze", "expand")])
    return views[name]() if x.numel() < 4096 else x


def along(way, value):
    """What torch's functions of those names make of a value, along a route."""
    functions = {
        "reshape": lambda x, shape: x.reshape(shape),
        "permute": lambda x, order: x.permute(order),
        "slice": lambda x, starts, stops, steps: x[tuple(map(slice, starts, stops, steps))],
        "repeat": lambda x, repeats: x.repeat(repeats),
    }
    for step in way.steps:
        value = functions[step.call](value, *step.arguments)
        assert tuple(value.shape) == step.shape
    return value


@pytest.mark.parametrize("seed", range(4))
def test_a_route_gives_what_the_view_shows(seed):
    rng = random.Random(seed)
    without = 0
    for _ in range(1000):
        shape = [rng.choice((1, 2, 3, 4, 6, 8)) for _ in range(rng.randrange(5))]
        whole = torch.arange(prod(shape)).view(shape).permute(rng.sample(range(len(shape)), len(shape)))
        view = whole
        for _ in range(rng.randrange(1, 6)):
            view = turned(view, rng)
        if view.ndim > 7:
            continue
        for flat in (None, (view.numel(),)):
            way = route(meta_of(whole), meta_of(view), flat)
            if way is None:
                without += 1
            else:
                assert along(way, whole).equal(view if flat is None else view.reshape(flat))
    assert without < 200  # overlapping windows, and slices that no dimension of the whole has


def calls(function):
    shape = torch.empty(function.shape, device="meta")
    way = route(meta_of(shape), meta_of(function(shape)))
    return [step.call for step in way.steps]


@pytest.mark.parametrize(
    ("shape", "view", "wanted"),
    [
        ((2, 40, 12, 64), lambda x: x.transpose(1, 2), ["permute"]),
        ((1, 40, 12, 64), lambda x: x.transpose(1, 2), ["permute"]),
        ((2, 40, 780), lambda x: x.view(2, 40, 12, 65).transpose(1, 2), ["reshape", "permute"]),
        ((2, 3, 4, 5), lambda x: x.permute(2, 3, 0, 1).permute(2, 3, 0, 1), []),
        ((2, 40, 64), lambda x: x[:, 1:7, 3:9].unsqueeze(1).transpose(1, 2).squeeze(2), ["slice"]),
        ((8, 128), lambda x: x.view(8, 64, 2)[..., 1], ["slice"]),
        ((3, 40), lambda x: x.unsqueeze(1).expand(3, 7, 40), ["reshape", "repeat"]),
        ((16, 64, 32), lambda x: x.unsqueeze(0).unsqueeze(3).permute(0, 1, 3, 2, 4).view(16, 64, 32), []),
    ],
)
def test_no_more_ttnn_calls_than_a_view_needs(shape, view, wanted):
    whole = torch.empty(shape, device="meta")
    way = route(meta_of(whole), meta_of(view(whole)))
    assert [step.call for step in way.steps] == wanted


def rope(x, turns):
    pairs = x.float().reshape(*x.shape[:-1], -1, 1, 2)
    return (turns[..., 0] * pairs[..., 0] + turns[..., 1] * pairs[..., 1]).reshape(x.shape)


PROGRAMS = {
    "attention": (lambda a, v: torch.einsum("b h i j, b h j d -> b h i d", a, v), ((1, 4, 33, 33), (1, 4, 33, 16))),
    "scores": (lambda q, k: torch.einsum("bihd,bjhd->bhij", q, k), ((2, 33, 4, 16), (2, 40, 4, 16))),
    "Gram": (lambda a, b: torch.einsum("ci,cj->ij", a, b), ((33, 40), (33, 40))),
    "Gram of a batch": (lambda x: torch.einsum("bci,bdi->bcd", x, x), ((2, 8, 50),)),
    "bilinear": (lambda a, w, b: torch.einsum("bi,oij,bj->bo", a, w, b), ((5, 8), (3, 8, 9), (5, 9))),
    "outer": (lambda a, b: torch.einsum("i,j->ij", a, b), ((33,), (40,))),
    "sums": (lambda x: torch.einsum("bij->bj", x), ((3, 33, 40),)),
    "batch of vectors": (lambda a, b: torch.einsum("bi,bi->b", a, b), ((5, 40), (5, 40))),
    "rotary pairs": (rope, ((1, 20, 4, 16), (1, 20, 1, 8, 2, 2))),
    "windows": (
        lambda x: x.view(2, 4, 8, 4, 8, 3).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 3) + 1,
        ((2, 32, 32, 3),),
    ),
    "patches": (
        lambda x: x.view(2, 3, 4, 8, 4, 8).permute(0, 2, 4, 3, 5, 1).reshape(2, 16, 192) + 1,
        ((2, 3, 32, 32),),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_many_views_are_cpus(name):
    program, shapes = PROGRAMS[name]
    torch.manual_seed(0)
    inputs = [torch.rand(shape) for shape in shapes]
    wanted = program(*inputs)
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        got = program(*(session.to_device(x) for x in inputs))
        assert session.report().totals.host == 0
        torch.testing.assert_close(got.host(), wanted, rtol=1e-4, atol=1e-4)


APART = "transformer.split_query_key_value_and_split_heads"
HEADS = [(1, 12, 33, 64), (2, 4, 7, 32), (3, 2, 1, 128), (2, 1, 5, 32), (1, 3, 9, 32), (1, 4, 7, 40)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", HEADS, ids=str)
def test_heads_of_attention_are_taken_apart_and_put_together(sizes, dtype):
    batch, heads, length, width = sizes
    rows = torch.rand(batch, length, heads * width).to(dtype)
    apart = rows.view(batch, length, heads, width).transpose(1, 2)
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        given, made = session.to_device(rows), session.to_device(apart.contiguous())
        split = given.view(batch, length, heads, width).transpose(1, 2) + 0
        joined = made.transpose(1, 2).reshape(batch, length, heads * width) + 0
        in_rows = made.transpose(1, 2).flatten(2).flatten(0, 1) + 0
    assert torch.equal(split, apart)
    assert torch.equal(joined, rows)
    assert torch.equal(in_rows, rows.flatten(0, 1))


def test_heads_take_one_ttnn_call_each_way():
    rows = meta_of(torch.empty(1, 128, 768))
    apart = meta_of(torch.empty(1, 128, 768).view(1, 128, 12, 64).transpose(1, 2))
    there = route(rows, apart)
    assert [step.call for step in there.steps] == [APART]
    assert [step.call for step in route(apart, rows).steps] == ["transformer.concatenate_heads"]
    odd = meta_of(torch.empty(1, 128, 192).view(1, 128, 3, 64).transpose(1, 2))
    assert route(meta_of(torch.empty(1, 128, 192)), odd).calls == 2


THREE = [(1, 1, 4, 4, 64), (2, 5, 12, 12, 64), (1, 1, 8, 2, 64), (2, 1, 3, 1, 32), (1, 7, 4, 2, 96), (3, 40, 2, 2, 32)]


def three_of(rows, heads, key_heads, width):
    """The heads of queries, keys and values, which lie side by side in the rows."""
    counts = heads, key_heads, key_heads
    parts = rows.split([count * width for count in counts], dim=-1)
    return [p.unflatten(-1, (n, width)).transpose(1, 2) for p, n in zip(parts, counts, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("sizes", THREE, ids=str)
def test_queries_keys_and_values_that_lie_side_by_side_are_taken_apart_in_one_call(sizes, first, dtype, watched):
    batch, length, *heads = sizes
    rows = torch.rand(batch, length, (heads[0] + 2 * heads[1]) * heads[2]).to(dtype)
    moves = []
    watched(lambda name, *_: moves.append(name))
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0, check=0.9999) as session:
        split = three_of(session.to_device(rows), *heads)
        made = {place: split[place] + 0 for place in ((first + n) % 3 for n in range(3))}
    for place, wanted in enumerate(three_of(rows, *heads)):
        assert torch.equal(made[place], wanted)
    assert [name for name in moves if name not in ("add", "to_layout")] == [APART]


def test_a_write_reaches_each_of_the_three_and_no_stale_one_is_used():
    rows = torch.rand(2, 5, 192)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        given, plain = session.to_device(rows), rows.clone()
        for x in (given, plain):
            query, _, value = three_of(x, 2, 2, 32)
            query + 0  # the values of all three are kept from here on
            value.mul_(3)
            x[:, 2] = 7.0
        seen = [heads + 0 for heads in three_of(given, 2, 2, 32)]
    for got, wanted in zip(seen, three_of(plain, 2, 2, 32), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[..., 64:192].unflatten(-1, (4, 32)),  # not in the order of heads
        lambda x: x[..., 64:192].unflatten(-1, (4, 32)).transpose(1, 2),  # keys of what queries?
        lambda x: x[..., 32:224].unflatten(-1, (3, 64)).transpose(1, 2),  # does not begin where heads do
        lambda x: x[:, 1:, :128].unflatten(-1, (4, 32)).transpose(1, 2),
        lambda x: x[..., :160].unflatten(-1, (5, 32)).transpose(1, 2),  # leaves no two halves
        lambda x: x[..., ::2].unflatten(-1, (6, 32)).transpose(1, 2),
        lambda x: x.unflatten(-1, (12, 32)).transpose(1, 2),
    ],
)
def test_other_parts_of_rows_are_what_they_show(view):
    rows = torch.rand(2, 5, 384)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        assert torch.equal(view(session.to_device(rows)) + 0, view(rows))


def of_three(tensor, write):
    rows = tensor(torch.arange(2 * 5 * 3 * 3 * 32).view(2, 5, 288).float()) + 0
    query, key, value = rows.view(2, 5, 3, 3, 32).permute(2, 0, 3, 1, 4)
    return [write(rows), query + 0, key + 0, value * 2, rows + 0, query.contiguous() + key]


WRITTEN = {
    "nothing": lambda rows: rows + 1,
    "the keys": lambda rows: rows[..., 96:192].neg_() + 1,
    "some keys and values": lambda rows: rows[:, 1:3, 150:250].fill_(7) + 0,
    "two parts": lambda rows: rows[:1].zero_()[..., :96] + rows[1:, 2:3, :96].neg_(),
}


@pytest.mark.parametrize("write", WRITTEN)
def test_heads_that_one_call_makes_are_those_of_the_content_now(write):
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        made = of_three(session.to_device, WRITTEN[write])
    for given, expected in zip(made, of_three(torch.clone, WRITTEN[write]), strict=True):
        assert torch.equal(given, expected)


def spread(x):
    length = x.norm(2, -1, keepdim=True).clamp_min(1e-12)
    first, row, column = x[:1].expand_as(x), x[0, 0, 0].expand(x.shape), x[..., :1].expand_as(x)
    made = [x / length.expand_as(x), torch.nn.functional.normalize(x, dim=-1), first - x[:, :1].expand_as(x), row + x]
    made += [torch.maximum(column, x[..., 1:2].expand_as(x)), column.pow(first), torch.where(x > 0, row, x)]
    made += [column + column, (column + 0) * x, torch.add(first, column, alpha=2)]
    y = x.clone()
    y.mul_(first)
    y[:, 1].add_(row[0, 0])
    return [*made, y, torch.sub(first, row, out=x.new_empty(x.shape)), column * first.sum(0)]


@pytest.mark.parametrize("precision", ["preserve", "bfloat16"])
def test_operands_that_are_expanded_are_what_they_show(precision):
    x = torch.rand(4, 3, 16, 32) + 0.5
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0, precision=precision) as session:
        made = spread(session.to_device(x) + 0)
    close = {"rtol": 1e-4, "atol": 1e-4} if precision == "preserve" else {"rtol": 0.05, "atol": 0.05}
    for given, expected in zip(made, spread(x), strict=True):
        assert given.stride() == expected.stride()
        torch.testing.assert_close(given, expected, **close)


def test_ttnn_spreads_an_expanded_operand_itself():
    x = torch.rand(4, 3, 16, 32)
    lengths = x[..., :1] + 1
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        given, length = session.to_device(x), session.to_device(lengths)
        divided = given / length.expand_as(given)
        calls = dict(session.report().device_calls)
    del calls["from_torch"]
    assert sum(calls.values()) == 1
    torch.testing.assert_close(divided, x / lengths, rtol=1e-5, atol=1e-5)


def test_a_gradient_that_is_one_number_everywhere_is_spread():
    functions = [torch.relu, torch.sigmoid, torch.tanh, torch.nn.functional.gelu, torch.nn.functional.silu, torch.exp]

    def gradients(x):
        found = []
        for function in functions:
            leaf = x.detach().clone().requires_grad_()
            (function(leaf).sum() + (leaf * leaf).mean()).backward()
            found.append(leaf.grad)
        return found

    x = torch.rand(4, 40) - 0.5
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        made = gradients(session.to_device(x))
    for given, expected in zip(made, gradients(x), strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-2, atol=1e-2)
