"""Scaled dot-product attention, composed of exact parts; or fused, see `_fused_attention`."""

from __future__ import annotations

import math

import torch

from ..apart import Labels
from ..call import Call, describe
from ..conditions import FLOATS, Check, Is, ProgramCheck, Rank, SameDtype
from ..registry import decomposed, lower
from ..room import InRoom
from ..samples import Sample, bools, rand
from ._fused_attention import fused, is_fused
from ._growing import padded, unseen
from .matmul import product
from .softmax import log_sum_exp
from .vocabulary import NAN_IS_A_NUMBER, accurate, as_shape, cast, from_sizes, reduce, widen

aten = torch.ops.aten
attention_op = aten._scaled_dot_product_flash_attention_for_cpu.default

INF = math.inf
LEAST, LARGEST = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max


def heads(dtype=torch.float32, queries=5, keys=7, key_heads=4, size=8, value_size=8):
    return (
        rand(2, 4, queries, size, dtype=dtype),
        rand(2, key_heads, keys, size, dtype=dtype),
        rand(2, key_heads, keys, value_size, dtype=dtype),
    )


def mask(*shape, dtype=torch.float32, hidden_row=None):
    """A mask to add: -inf where a key is hidden, and a bias elsewhere; of `hidden_row`, all keys are."""
    bias = rand(*shape, dtype=dtype).masked_fill(bools(*shape), -INF)
    bias[..., 0] = 0.5
    if hidden_row is not None:
        bias[..., hidden_row, :] = -INF
    return bias


def accepted():
    for dtype in FLOATS:
        yield Sample(*heads(dtype))
        yield Sample(*heads(dtype, queries=40, keys=33, size=32, value_size=32))
        yield Sample(*heads(dtype), is_causal=True)
        yield Sample(*heads(dtype), attn_mask=mask(5, 7, dtype=dtype, hidden_row=1))
        yield Sample(*heads(dtype), attn_mask=mask(2, 1, 1, 7, dtype=dtype), scale=0.5)
        yield Sample(*heads(dtype, key_heads=2), attn_mask=mask(2, 4, 5, 7, dtype=dtype))
        yield Sample(*heads(dtype, key_heads=1), is_causal=True)
    # CPU's logsumexp of bfloat16 queries is 5e-5 off the true one, which shows where it is small.
    yield Sample(*heads(queries=33, keys=40), is_causal=True, scale=0.3)
    yield Sample(*heads(torch.bfloat16), attn_mask=mask(5, 7))


def refused():
    yield Sample(*heads(), dropout_p=0.1)
    yield Sample(*heads(torch.float64))
    query, key, value = heads()
    yield Sample(query, key.bfloat16(), value.bfloat16())
    yield Sample(query[0], key, value)
    yield Sample(query, key[..., None], value)
    yield Sample(query, key, value[0])
    yield Sample(query, key[:1], value[:1])
    yield Sample(query, key, value, attn_mask=mask(5, 7, dtype=torch.bfloat16))
    yield Sample(query, key, value, attn_mask=mask(4, 5, 7))
    yield Sample(*heads(), is_causal=True, scale=-1.0)


def attention_samples():
    yield from accepted()
    yield from refused()


def same_batch(call: Call) -> str | None:
    shapes = [call[name].shape for name in ("query", "key", "value")]
    q, k, v = shapes
    fit = q[0] == k[0] == v[0] and k[1] == v[1] and q[1] % k[1] == 0 and q[3] == k[3] and k[2] == v[2]
    return None if fit else ", ".join(map(describe, shapes))


def odd_scale(call: Call) -> str | None:
    scale = call["scale"]
    return None if scale is None or LEAST <= scale <= LARGEST else describe(scale)


def odd_mask(call: Call) -> str | None:
    mask, query = call["attn_mask"], call["query"]
    fits = mask is None or mask.dtype in (torch.float32, query.dtype)
    return None if fits else f"{mask} and {query}"


WHEN = [
    SameDtype(("query", "key", "value")),
    *(Rank(name, (4,), because="PyTorch takes no others") for name in ("query", "key", "value")),
    Rank("attn_mask", (2, 4), because="PyTorch takes no others"),
    ProgramCheck("attn_mask in float32 or the dtype of query", odd_mask, because="PyTorch takes no others"),
    Is("dropout_p", 0.0, because="random numbers come from the host's generator"),
    Check("query, key and value have one batch, and query a multiple of their heads", same_batch),
    Check("scale is above 0, and finite, in float32", odd_scale, because="others make NaN of what a mask hides"),
]


def attention_in_room(tt, room, query, key, value, is_causal, attn_mask, scale):
    """Over all the rows that keys and values are held in; those behind their own are hidden."""
    keys = room.get("key")
    if keys is None or keys.dim != 2 or room.get("value") != keys or len(room) > 2 or is_causal:
        return None
    takes_kernel = is_fused(tt, query, key, value, False, attn_mask)
    own = attn_mask
    if own is None:
        mask = unseen(tt, keys.size, keys.length, query.dtype if takes_kernel else tt.float32)
    else:
        dim = len(own.shape) - 1
        own = padded(tt, own, dim, keys.size) if own.shape[dim] > 1 else own
        mask = tt.add(own, unseen(tt, keys.size, keys.length, own.dtype))

    def scores():
        return masked_scores(tt, query, key, False, mask, scale)

    if not takes_kernel:
        return attended(tt, scores(), query, key, value, attn_mask)
    output = fused(tt, query, key, value, False, mask, scale, hides_all=own is not None)
    return output, lambda: log_of_sums(tt, scores(), query, attn_mask)


def attention_apart(call, outputs):
    """Batches and queries; and keys, if what is behind them is hidden."""
    query, key, mask = call["query"].shape, call["key"].shape, call["attn_mask"]
    hidden = mask is None or mask.shape[-1] == key[2]
    # Under `is_causal` a query sees the keys up to its own place.
    keys = "keys" if key[2] > 1 and (query[2] <= key[2] if call["is_causal"] else hidden) else None
    rows = (("batch", None, keys, None),)
    labels: dict = {"query": (("batch", None, "queries", None),), "key": rows, "value": rows}
    fills = {"key": {"keys": 0.0}, "value": {"keys": 0.0}, "attn_mask": {"keys": -INF}}
    if mask is not None:
        whole = (("batch", query[0]), (None, 0), ("queries", query[2]), (keys, key[2]))[-mask.ndim :]
        named = (name if size == n else None for (name, size), n in zip(whole, mask.shape, strict=True))
        labels["attn_mask"] = (tuple(named),)
    hides = {} if call["is_causal"] else {"attn_mask": "keys"}
    return Labels(labels, (("batch", None, "queries", None), ("batch", None, "queries")), fills, hides)


@lower(
    attention_op,
    samples=attention_samples,
    takes=FLOATS,
    when=WHEN,
    in_room=InRoom(attention_in_room, pads={"attn_mask": -INF}),
    apart=attention_apart,
    chip=NAN_IS_A_NUMBER,
)
def attention(tt, query, key, value, is_causal, attn_mask, scale):
    if not is_fused(tt, query, key, value, is_causal, attn_mask):
        scores = masked_scores(tt, query, key, is_causal, attn_mask, scale)
        return attended(tt, scores, query, key, value, attn_mask)
    output = fused(tt, query, key, value, is_causal, attn_mask, scale)

    def logsumexp():
        scores = masked_scores(tt, query, key, is_causal, attn_mask, scale)
        return log_of_sums(tt, scores, query, attn_mask)

    return output, logsumexp


def attended(tt, scores, query, key, value, attn_mask):
    """What each query takes of the values, and a function for the logarithm of its scores' sum."""
    weights = cast(tt, by_key_head(tt, weights_of(tt, scores, attn_mask), key), value.dtype)
    output = as_shape(tt, product(tt, weights, value), [*list(query.shape)[:3], value.shape[3]])
    return output, lambda: log_of_sums(tt, scores, query, attn_mask)


def log_of_sums(tt, scores, query, attn_mask):
    """The logarithm of each query's sum of exponentials; 0 where every key is hidden, as on CPU."""
    result = log_sum_exp(tt, scores, -1, keepdim=True)
    if attn_mask is not None:
        result = tt.where(nothing_seen(tt, scores), 0.0, result)
    return cast(tt, as_shape(tt, result, list(query.shape)[:3]), tt.carrier(torch.float32))


def masked_scores(tt, query, key, is_causal, attn_mask, scale):
    """How much each query attends to each key, before softmax, in float32.

    If the mask is one for all heads, those that share a key head may stay below each other; see `by_key_head`.
    """
    factor = 1 / math.sqrt(query.shape[3]) if scale is None else scale
    scaled = tt.UnaryWithParam(tt.UnaryOpType.MUL_UNARY_SFPU, factor)  # in float32, by the call that makes the product
    scores = product(tt, by_key_head(tt, query, key), key, transpose_b=True, dtype=tt.float32, activation=scaled)
    if is_causal or not is_for_all_heads(attn_mask, query):
        scores = as_shape(tt, scores, [*list(query.shape)[:3], key.shape[2]])
    if is_causal:
        scores = tt.where(tt.constant(causal(query.shape[2], key.shape[2])), scores, -INF)
    return scores if attn_mask is None else tt.add(scores, attn_mask)


def is_for_all_heads(attn_mask, query):
    """Whether the mask, if there is one, has one row of numbers for all heads and queries."""
    if attn_mask is None:
        return True
    shape = [1, 1, *list(attn_mask.shape)][-4:]
    return query.shape[2] == shape[2] == shape[1] == 1


def weights_of(tt, scores, attn_mask):
    """How much of each value each query takes, in float32."""
    weights = tt.softmax(scores, dim=-1, numeric_stable=True, compute_kernel_config=accurate(tt))
    return weights if attn_mask is None else tt.where(nothing_seen(tt, scores), 0.0, weights)


def by_key_head(tt, rows, key):
    """The rows of all query heads that share a key head, below each other, so that no key or value is repeated."""
    batch, query_heads, queries, width = rows.shape
    return as_shape(tt, rows, [batch, key.shape[1], query_heads // key.shape[1] * queries, width])


def nothing_seen(tt, scores):
    """The queries from which every key is hidden: CPU gives 0 for them, where softmax gives NaN."""
    return tt.eq(reduce(tt, "max", scores, -1, keepdim=True), -INF)


@from_sizes
def causal(queries: int, keys: int) -> torch.Tensor:
    """1 where a query sees a key: at its own place and before."""
    return torch.ones(1, 1, queries, keys, dtype=torch.float32).tril()


def backward_samples():
    for samples, is_right in ((accepted, True), (refused, False)):
        for sample in samples():
            query = sample.args[0]
            named = {"dropout_p": 0.0, "is_causal": False, **sample.kwargs}
            outputs = attention_op(*sample.args, **named) if is_right else (query, query[..., 0])
            yield Sample(rand(*query.shape, dtype=query.dtype), *sample.args, *outputs, **named)
    query, key, value = heads()
    outputs = attention_op(query, key, value)
    yield Sample(query.bfloat16(), query, key, value, *outputs, 0.0, False)


@lower(
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
    samples=backward_samples,
    takes=FLOATS,
    when=[SameDtype(("grad_out", "query", "out")), *WHEN],
    chip=NAN_IS_A_NUMBER,
)
def attention_backward(tt, grad_out, query, key, value, out, logsumexp, is_causal, attn_mask, scale):
    scores = masked_scores(tt, query, key, is_causal, attn_mask, scale)
    scores = as_shape(tt, scores, [*list(query.shape)[:3], key.shape[2]])
    if logsumexp.dtype == tt.float32:
        weights = tt.exp(tt.subtract(scores, as_shape(tt, logsumexp, [*list(query.shape)[:3], 1])))
    else:  # rounded to bfloat16 it makes all weights of a row too large, or too small, by some percent
        weights = weights_of(tt, scores, attn_mask)
    gradient = by_key_head(tt, grad_out, key)
    by_weight = product(tt, gradient, value, transpose_b=True, dtype=tt.float32)
    by_weight = as_shape(tt, by_weight, scores.shape)
    both = tt.multiply(widen(tt, grad_out), widen(tt, out))
    by_score = tt.multiply(weights, tt.subtract(by_weight, reduce(tt, "sum", both, -1, keepdim=True)))
    by_score = tt.multiply(by_score, 1 / math.sqrt(query.shape[3]) if scale is None else scale)
    by_score = cast(tt, by_key_head(tt, by_score, key), query.dtype)
    weights = cast(tt, by_key_head(tt, weights, key), query.dtype)
    return (
        as_shape(tt, product(tt, by_score, key), query.shape),
        product(tt, by_score, by_key_head(tt, query, key), transpose_a=True),
        product(tt, weights, gradient, transpose_a=True),
    )


def whole_attention_samples():
    query, key, value = heads()
    yield Sample(query, key, value, is_causal=True)
    yield Sample(query[0], key[0], value[0], attn_mask=bools(5, 7))
    yield Sample(*heads(key_heads=2), enable_gqa=True)


decomposed(
    aten.scaled_dot_product_attention.default,
    because="PyTorch makes a mask of numbers and four dimensions for the op that computes",
    samples=whole_attention_samples,
)
