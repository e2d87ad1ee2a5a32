"""The condition vocabulary: what each condition says, what it accepts, and what it says that it got instead."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ttreg import aten
from ttreg.call import Call
from ttreg.conditions import (
    FLOATS,
    AtLeast,
    AtMost,
    Check,
    Dtype,
    Given,
    Is,
    MultipleOf,
    Never,
    OneOf,
    Rank,
    Refusal,
    SameDtype,
    SameShape,
    SizeAtMost,
)
from ttreg.meta import meta_of

IMAGE, WEIGHT = torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3)


def on_meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def conv(input=IMAGE, weight=WEIGHT, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), transposed=False):
    args = (input, weight, bias, list(stride), list(padding), list(dilation), transposed, [0, 0], 1)
    return Call.bind(aten.convolution.default, args, {})


def add(self, other, **kwargs):
    return Call.bind(aten.add.Tensor, (self, other), kwargs)


def cat(*tensors):
    return Call.bind(aten.cat.default, (list(tensors),), {})


def gelu(approximate):
    return Call.bind(aten.gelu.default, (torch.ones(2),), {"approximate": approximate})


def many_rows(call):
    rows = call["self"].shape[0]
    return None if rows > 2 else f"{rows} rows"


ONES, HALVES, INTS = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float16), torch.ones(2, 3, dtype=torch.int32)
BF16 = torch.ones(2, 3, dtype=torch.bfloat16)

ACCEPTED = [
    (Dtype("self", FLOATS), add(ONES, 1)),
    (Dtype(("self", "other"), FLOATS), add(ONES, BF16)),
    (Dtype(("self", "other"), FLOATS), add(ONES, 2.5)),
    (Dtype("bias", FLOATS), conv(bias=None)),
    (Dtype("tensors", FLOATS), cat(ONES, BF16)),
    (Dtype("tensors", FLOATS), cat()),
    (SameDtype(("self", "other")), add(ONES, ONES)),
    (SameDtype(("self", "other")), add(ONES, 1)),
    (SameDtype(("tensors",)), cat(BF16, BF16)),
    (Rank("input", (4,)), conv()),
    (Rank("self", range(1, 4)), add(ONES, 1)),
    (Rank("self", (0, 2)), add(torch.tensor(1.0), 1)),
    (Rank("bias", (1,)), conv(bias=None)),
    (Rank("tensors", (2,)), cat(ONES, ONES)),
    (Is("dilation", 1), conv(dilation=[1, 1])),
    (Is("dilation", [2, 1]), conv(dilation=(2, 1))),
    (Is("bias", None), conv()),
    (Is("transposed", False), conv()),
    (Is("alpha", 1), add(ONES, ONES)),
    (Is("alpha", 1), add(ONES, ONES, alpha=1.0)),
    (Is("approximate", "tanh"), gelu("tanh")),
    (OneOf("approximate", ("none", "tanh")), gelu("none")),
    (OneOf("stride", (1, 2)), conv(stride=[2, 2])),
    (OneOf("stride", ([1, 2], [2, 1])), conv(stride=[2, 1])),
    (Given("bias"), conv(bias=torch.ones(4))),
    (AtLeast("padding", 0), conv(padding=[0, 1])),
    (AtLeast("alpha", -7.5), add(ONES, ONES, alpha=-7.5)),
    (AtMost("padding", 1), conv(padding=[0, 1])),
    (AtMost("alpha", 2), add(ONES, ONES, alpha=2)),
    (AtMost("alpha", 2), add(ONES, ONES, alpha=-7.5)),
    (SizeAtMost("input", 1, 3), conv()),
    (SizeAtMost("self", -1, 3), add(ONES, 1)),
    (SizeAtMost("self", 5, 1), add(ONES, 1)),
    (SizeAtMost("self", -3, 1), add(ONES, 1)),
    (MultipleOf("input", -1, 4), conv()),
    (MultipleOf("self", 2, 32), add(ONES, 1)),
    (SameShape(("self", "other")), add(ONES, BF16)),
    (SameShape(("self", "other")), add(ONES, 1)),
    (SameShape(("tensors",)), cat(ONES, ONES)),
    (Check("more than two rows", many_rows), add(torch.ones(3), 1)),
]

REFUSED = [
    (Dtype("self", FLOATS), add(HALVES, 1), "self in {bfloat16, float32}, got float16"),
    (Dtype(("self", "other"), FLOATS), add(ONES, INTS), "self, other in {bfloat16, float32}, got other int32"),
    (Dtype("tensors", FLOATS), cat(ONES, INTS), "tensors in {bfloat16, float32}, got int32"),
    (SameDtype(("self", "other")), add(ONES, BF16), "one dtype in self, other, got float32, bfloat16"),
    (SameDtype(("tensors",)), cat(ONES, ONES, BF16), "one dtype in tensors, got float32, bfloat16"),
    (Rank("input", (4,)), conv(input=IMAGE[0]), "rank of input == 4, got 3"),
    (Rank("self", range(1, 4)), add(torch.tensor(1.0), 1), "1 <= rank of self <= 3, got 0"),
    (Rank("self", (0, 3)), add(ONES, 1), "rank of self in {0, 3}, got 2"),
    (Rank("tensors", (2,)), cat(ONES, torch.ones(1)), "rank of tensors == 2, got 1"),
    (Is("dilation", 1), conv(dilation=[2, 2]), "dilation == 1, got [2, 2]"),
    (Is("dilation", 1), conv(dilation=(1, 2)), "dilation == 1, got [1, 2]"),
    (Is("dilation", [1, 2]), conv(dilation=(2, 1)), "dilation == [1, 2], got [2, 1]"),
    (Is("transposed", False), conv(transposed=True), "transposed == False, got True"),
    (Is("bias", None), conv(bias=torch.ones(4)), "bias == None, got float32[4]"),
    (Is("alpha", 1), add(ONES, ONES, alpha=2.5), "alpha == 1, got 2.5"),
    (Is("alpha", 1), add(ONES, ONES, alpha=True), "alpha == 1, got True"),
    (Is("transposed", False), conv(transposed=0), "transposed == False, got 0"),
    (Is("other", 2), add(ONES, ONES), "other == 2, got float32[2, 3]"),
    (OneOf("approximate", ("none",)), gelu("tanh"), "approximate in {none}, got tanh"),
    (OneOf("stride", (1, 2)), conv(stride=[1, 2]), "stride in {1, 2}, got [1, 2]"),
    (Given("bias"), conv(), "bias is given, got None"),
    (AtLeast("padding", 0), conv(padding=[1, -2]), "padding >= 0, got [1, -2]"),
    (AtLeast("alpha", 2), add(ONES, ONES, alpha=1.5), "alpha >= 2, got 1.5"),
    (AtLeast("alpha", 2), add(ONES, ONES, alpha=float("nan")), "alpha >= 2, got nan"),
    (AtMost("padding", 1), conv(padding=[1, 2]), "padding <= 1, got [1, 2]"),
    (AtMost("alpha", 2), add(ONES, ONES, alpha=2.5), "alpha <= 2, got 2.5"),
    (SizeAtMost("input", 1, 2), conv(), "input.shape[1] <= 2, got 3"),
    (SizeAtMost("self", -1, 2), add(ONES, 1), "self.shape[-1] <= 2, got 3"),
    (MultipleOf("input", -1, 3), conv(), "input.shape[-1] is a multiple of 3, got 8"),
    (SameShape(("self", "other")), add(ONES, ONES[0]), "one shape in self, other, got [2, 3] and [3]"),
    (SameShape(("tensors",)), cat(ONES, ONES, ONES[:1]), "one shape in tensors, got [2, 3] and [1, 3]"),
    (Never(because="data-dependent"), add(ONES, 1), "runs on the host (data-dependent)"),
    (Check("more than two rows", many_rows), add(ONES, 1), "more than two rows, got 2 rows"),
    (
        Is("transposed", False, because="see conv_transpose2d"),
        conv(transposed=True),
        "transposed == False, got True (see conv_transpose2d)",
    ),
]


def case_id(value):
    return str(value) if not isinstance(value, Call) else str(value).replace("aten.", "")[:60]


@pytest.mark.parametrize(("condition", "call"), ACCEPTED, ids=case_id)
def test_a_condition_accepts(condition, call):
    assert condition.refuse(call) is None


@pytest.mark.parametrize(("condition", "call", "text"), REFUSED, ids=case_id)
def test_a_condition_refuses_and_says_what_it_got(condition, call, text):
    refusal = condition.refuse(call)
    assert str(refusal) == text
    assert refusal.condition == str(condition)
    assert refusal.because == condition.because
    assert text.startswith(str(condition))


def test_the_same_condition_and_a_different_call_differ_only_in_what_was_got():
    condition = Is("dilation", 1)
    first, second = (condition.refuse(conv(dilation=d)) for d in ([2, 2], [3, 3]))
    assert first != second
    assert first.with_got("") == second.with_got("")


def test_conditions_are_values():
    assert Dtype("self", FLOATS) == Dtype("self", FLOATS)
    assert len({Rank("input", (4,)), Rank("input", (4,)), Rank("input", (3,))}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dtype("self", FLOATS).names = "other"


@pytest.mark.parametrize(("condition", "call", "text"), REFUSED, ids=case_id)
def test_a_condition_reads_metadata_only(condition, call, text):
    assert not any(isinstance(value, torch.Tensor) for value in call.arguments.values())


def test_a_refusal_without_anything_got_is_the_condition():
    assert str(Refusal("has an entry")) == "has an entry"
    assert str(Refusal("has an entry", because="there is none")) == "has an entry (there is none)"


def test_bind_fills_in_defaults():
    call = Call.bind(aten.add.Tensor, (ONES, 2), {})
    assert dict(call.arguments) == {"self": meta_of(ONES), "other": 2, "alpha": 1}
    assert list(call.arguments) == ["self", "other", "alpha"]


def test_bind_takes_positional_arguments_by_name_too():
    by_name = Call.bind(aten.add.Tensor, (), {"alpha": 3, "other": ONES, "self": INTS})
    assert by_name["alpha"] == 3
    assert by_name["self"] is meta_of(INTS)
    assert [name for name, _ in by_name.tensors()] == ["self", "other"]


def test_bind_keeps_mutable_defaults_apart():
    first = Call.bind(aten.sum.dim_IntList, (ONES, [0]), {})
    assert first["dim"] == [0]
    assert first["keepdim"] is False
    assert first["dtype"] is None


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((ONES, ONES, 1, 2), {}, r"aten\.add\.Tensor takes 3 arguments, got 4"),
        ((ONES, ONES), {"beta": 1}, r"does not take beta .*it is aten::add\.Tensor\(Tensor self, Tensor other"),
        ((ONES, ONES), {"self": ONES}, r"does not take self \(or takes it twice\)"),
        ((ONES,), {}, "lacks its argument 'other'"),
        ((), {}, "lacks its argument 'self'"),
    ],
    ids=["too many", "unknown", "given twice", "missing", "none at all"],
)
def test_bind_refuses(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        Call.bind(aten.add.Tensor, args, kwargs)


def test_lists_of_tensors_are_metadata_with_their_nones():
    call = Call.bind(aten.index.Tensor, (ONES, [None, torch.tensor([0, 1])]), {})
    assert call["indices"][0] is None
    assert str(call["indices"][1]) == "int64[2]"
    assert [(name, str(meta)) for name, meta in call.tensors("indices")] == [("indices", "int64[2]")]


def test_a_call_prints_as_a_user_would_write_it():
    call = Call.bind(aten.add.Tensor, (ONES, BF16), {"alpha": 2})
    assert str(call) == "aten.add.Tensor(self=float32[2, 3], other=bfloat16[2, 3], alpha=2)"
    assert str(Call.bind(aten._to_copy.default, (ONES,), {"dtype": torch.int32})).count("dtype=int32") == 1


def test_meta_and_real_tensors_of_one_geometry_bind_to_equal_calls():
    assert Call.bind(aten.mm.default, (ONES, ONES.t()), {}) == Call.bind(
        aten.mm.default, (on_meta(2, 3), on_meta(2, 3).t()), {}
    )
