"""What ttnn gets wrong without a word (docs/ttnn-limits.md) is asked of it by no entry."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

import ttreg
from ttreg.registry import registry
from ttreg.verification.trial import decision

REDUCTIONS = ("sum", "mean", "max", "min", "prod", "var", "std")
NEVER_CALLED = (
    *("index_fill", "tril", "triu", "conv_transpose2d", "prepare_conv_weights", "repeat_interleave", "upsample"),
    *("max_pool2d", "avg_pool2d", "group_norm", "prod", "xlogy", "log_sigmoid", "softplus", "logical_not"),
    *("erfc", "erfinv", "lgamma"),
)
CONV_ELEMENTS = 2**20
# Of calls, by dtypes, dimensions and numbers, for each entry; `make wrong-calls` takes more.
MOST_KINDS = 16 if os.environ.get("EVERY_WRONG_CALL") else 6


def dtype_of(value):
    return str(getattr(value, "dtype", "")).rpartition(".")[2]


def is_tiled(value):
    return str(value.layout).endswith("TILE")


def typecast_to_uint8(args, kwargs):
    asked = str(args[1] if len(args) > 1 else kwargs["dtype"]).rpartition(".")[2]
    return asked == "UINT8" and dtype_of(args[0]) != "INT32"


def in_bfloat16(args, kwargs):
    return dtype_of(args[0]) == "BFLOAT16"


def numbers_in_bfloat16(args, kwargs):
    """Whether numbers are reduced in bfloat16; truth values may be, since they have no infinities or NaN."""
    return in_bfloat16(args, kwargs) and not bool(((args[0].data == 0) | (args[0].data == 1)).all())


def of_tiles(args, kwargs):
    return is_tiled(args[0])


def unstable_or_in_bfloat16(args, kwargs):
    return in_bfloat16(args, kwargs) or kwargs.get("stable") is not True


def pads_wrongly(args, kwargs):
    x, sides = args[0], args[1]
    value = kwargs.get("value", args[2] if len(args) > 2 else 0.0)
    in_front = any(before for before, _ in sides)
    rounded = dtype_of(x) == "FLOAT32" and float(torch.tensor(float(value)).bfloat16()) != value
    return rounded or dtype_of(x) == "UINT8" or (is_tiled(x) and (in_front or len(x.shape) == 1))


def embeds_wrongly(args, kwargs):
    index, table = args[0], args[1]
    taken = dtype_of(table) == "BFLOAT16" and dtype_of(index) in ("UINT32", "BFLOAT16")
    return is_tiled(index) or is_tiled(table) or not taken or not 1 <= len(index.shape) <= 2


def convolves_wrongly(args, kwargs):
    top, bottom, left, right = kwargs["padding"]
    height, width = kwargs["input_height"] + top + bottom, kwargs["input_width"] + left + right
    elements = height * width * -(-kwargs["in_channels"] // 32) * 32
    in_dram = kwargs["conv_config"].config_tensors_in_dram
    return not in_dram or (kwargs["batch_size"] > 1 and kwargs["batch_size"] * elements > CONV_ELEMENTS)


def of_uint8(args, kwargs):
    return dtype_of(args[0]) == "UINT8"


def same_dimension(args, kwargs):
    rank = len(args[0].shape)
    return args[1] % rank == args[2] % rank


def of_several_ranks(args, kwargs):
    return len({len(value.shape) for value in args if hasattr(value, "shape")}) > 1


def gradient_of_exact_gelu(args, kwargs):
    return not str(kwargs["variant"]).endswith("Tanh")


def rows_with_a_mean(args, kwargs):
    """Whether float32 rows have means that are more than the roundings of what was taken from them."""
    x = args[0].data
    mean, largest = x.mean(-1).abs(), x.abs().amax(-1)
    return dtype_of(args[0]) == "FLOAT32" and bool((mean > 0.05 * largest).logical_and(mean > 1e-4).any())


def in_float32(args, kwargs):
    return dtype_of(args[0]) == "FLOAT32"


def tilizes_uint8(args, kwargs):
    layout = args[1] if len(args) > 1 else kwargs["layout"]
    return dtype_of(args[0]) == "UINT8" and str(layout).endswith("TILE") and not is_tiled(args[0])


WRONG = {
    "typecast": typecast_to_uint8,
    **dict.fromkeys(("asin", "acos", "acosh", "atanh"), in_bfloat16),
    **dict.fromkeys(REDUCTIONS, numbers_in_bfloat16),
    "argmax": of_tiles,
    "sort": unstable_or_in_bfloat16,
    "topk": unstable_or_in_bfloat16,
    "pad": pads_wrongly,
    "embedding": embeds_wrongly,
    "conv2d": convolves_wrongly,
    "transpose": same_dimension,
    "to_layout": tilizes_uint8,
    "sigmoid": in_float32,
    "reciprocal": in_float32,
    "gelu_bw": gradient_of_exact_gelu,
    "layer_norm": rows_with_a_mean,
    **dict.fromkeys(("reshape", "repeat", "add", "subtract", "multiply", "clamp"), of_uint8),
    **dict.fromkeys(("where", "addcmul", "addcdiv", "lerp"), of_several_ranks),
    **dict.fromkeys(NEVER_CALLED, lambda args, kwargs: True),
}


@pytest.fixture
def wrong_calls(watched):
    """The calls that the emulated device was asked for and that ttnn gets wrong."""
    found = []

    def see(name, args, kwargs, result):
        if name in WRONG and WRONG[name](args, kwargs):
            found.append(f"{name}({', '.join(map(str, args))}, {kwargs})")

    watched(see)
    return found


def kind(sample):
    values = (*sample.args, *sample.kwargs.values())
    return repr([(v.dtype, v.ndim) if isinstance(v, torch.Tensor) else v for v in values])


def test_no_entry_makes_a_call_that_ttnn_gets_wrong(wrong_calls):
    said = {}
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        for entry in registry.matching((), "device"):
            tried = set()
            for sample in entry.samples():
                if kind(sample) in tried or len(tried) == MOST_KINDS or decision(session, entry, sample) is not None:
                    continue
                tried.add(kind(sample))
                with torch.inference_mode():
                    results = entry.op(*sample.args, **sample.kwargs)
                for result in results if isinstance(results, (tuple, list)) else [results]:
                    session.read(result)
                if wrong_calls:
                    said[str(entry.op)] = wrong_calls[0]
                    wrong_calls.clear()
    assert said == {}, "\n".join(f"{op}: {call}" for op, call in said.items())


UINT8_MAKERS = {
    "to": lambda x, t: x.to(torch.uint8),
    "type": lambda x, t: x.type(torch.uint8),
    "copy_": lambda x, t: t.copy_(x),
    "copy_ of one": lambda x, t: t.copy_(x[0]),
    "fill_ by a tensor": lambda x, t: t.fill_(x[0]),
    "assignment": lambda x, t: t.__setitem__(slice(1, 3), x[1:3]) or t,
    "masked_fill_": lambda x, t: t.masked_fill_(x > 1, 3),
    "where": lambda x, t: torch.where(x > 1, t, t + 1),
    "comparison into out": lambda x, t: torch.gt(x, 1, out=t),
    "logical_not into out": lambda x, t: torch.logical_not(x, out=t),
    "isnan and to": lambda x, t: x.isnan().to(torch.uint8),
    "cat": lambda x, t: torch.cat([(x > 1).to(torch.uint8), t]),
    "any": lambda x, t: torch.any(t),
    "view": lambda x, t: (x > 1).byte().view(2, 2),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int32, torch.bool])
@pytest.mark.parametrize("maker", UINT8_MAKERS)
def test_uint8_is_made_of_int32(maker, dtype, wrong_calls, device):
    make = UINT8_MAKERS[maker]
    x, target = torch.tensor([3, 0, 2, 1]).to(dtype), torch.tensor([1, 2, 3, 4], dtype=torch.uint8)
    expected = make(x.clone(), target.clone())
    with device as session:
        result = make(session.to_device(x), session.to_device(target))
    assert session.read(result).tolist() == expected.tolist()
    assert result.dtype is expected.dtype
    assert wrong_calls == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int32, torch.uint8])
def test_a_bool_that_numbers_are_copied_to_counts_each_once(dtype, device):
    source, target = torch.tensor([3, 0, 7, 1]).to(dtype), torch.zeros(4, dtype=torch.bool)
    with device as session:
        copied = session.to_device(target).copy_(session.to_device(source))
        filled = session.to_device(target).fill_(session.to_device(source)[2])
        functional = torch.ops.aten.copy(session.to_device(target), session.to_device(source))
        sums = [int(t.sum()) for t in (copied, filled, functional)]
    assert sums == [3, 4, 3]


def test_equal_elements_come_in_their_order_from_topk(wrong_calls, device):
    x = torch.arange(200).remainder(3).float().reshape(2, 100)
    with device as session:
        values, places = (session.read(t) for t in session.to_device(x).topk(60))
    assert torch.equal(values, x.topk(60).values)
    assert torch.equal(places, x.sort(descending=True, stable=True).indices[:, :60])
    assert wrong_calls == []


NORMS = {
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "layer_norm of two dimensions": lambda x: F.layer_norm(x, x.shape[-2:]),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "batch_norm by the batch": lambda x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("mean", [0, 1000, -1e4])
@pytest.mark.parametrize("norm", NORMS)
def test_a_large_mean_is_taken_from_what_is_normalized(norm, mean, wrong_calls, device):
    x = torch.arange(2.0 * 6 * 5 * 7).sin().reshape(2, 6, 5, 7) + mean
    with device as session:
        result = NORMS[norm](session.to_device(x))
    assert {row.placement for row in session.report().ops if "norm" in row.op} == {"device"}
    exact = NORMS[norm](x.double())
    assert (session.read(result) - exact).abs().max() < 1e-5
    assert wrong_calls == []
