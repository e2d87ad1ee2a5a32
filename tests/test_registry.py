"""The registry: what an entry may say, which op it is for, and where entries come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ttreg import RegistryError, aten, cpu_only, decomposed, lower
from ttreg.call import Call
from ttreg.conditions import FLOATS, AtMost, Check, Dtype, Given, Is, MultipleOf, Never, OneOf, Rank, SameShape
from ttreg.registry import Entry, Registry, registry
from ttreg.samples import Sample, rand
from ttreg.schema import functional_form, is_view, written_arguments
from ttreg.specs import Tensor, together


def samples():
    yield Sample(rand(2, 3))


@pytest.fixture
def stretch(private_op):
    """An op without an entry: `stretch(Tensor self, float factor=2., *, Tensor? bias=None) -> Tensor`."""
    schema = "stretch(Tensor self, float factor=2., *, Tensor? bias=None) -> Tensor"
    return private_op(schema, lambda self, factor=2.0, bias=None: self * factor + (0 if bias is None else bias))


TYPED = Dtype(("self", "bias"), FLOATS)


def lowering(tt, self, factor, bias):
    return tt.multiply(self, factor)


def test_an_entry_is_found_by_its_op(stretch):
    lower(stretch, samples=samples, when=[TYPED])(lowering)
    entry = registry.find(stretch)
    assert entry is not None
    assert (entry.kind, entry.conditions, entry.function) == ("device", (TYPED,), lowering)
    assert entry.module == __name__
    assert entry.family == __name__.rpartition(".")[2]
    assert entry in list(registry)


def test_the_decorator_returns_the_function_itself(stretch):
    assert lower(stretch, samples=samples, when=[TYPED])(lowering) is lowering


def test_an_op_without_entry_is_not_found(stretch):
    assert registry.find(stretch) is None


def test_iterating_goes_by_name_and_len_counts(stretch):
    before = len(registry)
    lower(stretch, samples=samples, when=[TYPED])(lowering)
    names = [str(entry.op) for entry in registry]
    assert names == sorted(names)
    assert len(registry) == len(names) == before + 1


WRONG: Any = 5
NONSENSE = [
    ({"samples": None}, "samples of .* is None; expected a function"),
    ({"when": 5}, "when of .* is 5; expected a list of conditions"),
    ({"when": "self"}, "when of .* is 'self'; expected a list"),
    ({"when": [5]}, "a condition of .* is 5; expected one of ttreg.conditions"),
    ({"when": [Dtype(WRONG, FLOATS)]}, "has no argument 5|a condition of .* does not say its arguments"),
    ({"takes": 5}, "takes 5 for self"),
    ({"outputs": "self"}, "outputs of .* is 'self'; expected a function, or None"),
    ({"chip": None}, "chip of .* is None; expected a text"),
    ({"in_room": 5}, "in_room of .* is 5; expected a ttreg.room.InRoom, or None"),
    ({"steps": len}, "steps of .*; expected"),
    ({"number": 5}, "number of .* is 5; expected a function"),
    ({"apart": 5}, "apart of .* is 5; expected a function"),
]


@pytest.mark.parametrize(("given", "said"), NONSENSE)
def test_an_argument_of_another_kind_is_refused_and_named(given, said, stretch):
    with pytest.raises(RegistryError, match=said):
        lower(stretch, **{"samples": samples, "takes": FLOATS, **given})(lowering)
    assert registry.find(stretch) is None


@pytest.mark.parametrize("function", [None, 5, [], int, print])
def test_a_lowering_that_is_no_function_is_refused(function, stretch):
    with pytest.raises(RegistryError, match=r"the lowering of .*; expected a function that takes `tt` first"):
        lower(stretch, samples=samples, takes=FLOATS)(function)


@pytest.mark.parametrize(
    ("add", "said"),
    [
        (lambda op: cpu_only(op, because=WRONG, samples=samples), "because of .* is 5; expected a text"),
        (lambda op: cpu_only(op, because="so", samples=WRONG), "samples of .* is 5"),
        (lambda op: decomposed(op, because=WRONG, samples=samples), "because of .* is 5"),
        (lambda op: decomposed(op, because="so", samples=samples, into=WRONG), "into of .* is 5"),
    ],
)
def test_other_entries_of_nonsense_are_refused(add, said, stretch):
    with pytest.raises(RegistryError, match=said):
        add(stretch)
    assert registry.find(stretch) is None


SECOND_ENTRIES = {
    "lower": lambda op: lower(op, samples=samples, when=[TYPED])(lowering),
    "cpu_only": lambda op: cpu_only(op, because="twice", samples=samples),
    "decomposed": lambda op: decomposed(op, because="twice", samples=samples),
}


@pytest.mark.parametrize("second", SECOND_ENTRIES)
def test_a_second_entry_for_an_op_is_refused_and_names_both_places(stretch, second):
    lower(stretch, samples=samples, when=[TYPED])(lowering)
    with pytest.raises(RegistryError, match=r"ttreg_tests\.stretch\.default has an entry already, in .*test_registry"):
        SECOND_ENTRIES[second](stretch)
    assert registry.find(stretch).kind == "device"


def test_a_packet_is_refused_and_its_overloads_are_named():
    with pytest.raises(RegistryError, match=r"aten\.add is a packet of overloads; name one of .*aten\.add\.Tensor"):
        cpu_only(aten.add, because="it is a packet", samples=samples)
    with pytest.raises(RegistryError, match="packet"):
        lower(aten.add, samples=samples, when=[])(lowering)


@pytest.mark.parametrize(
    "op",
    [torch.add, "aten.add.Tensor", torch.nn.functional.relu, None],
    ids=["function", "name", "other function", "nothing"],
)
def test_what_is_no_op_is_refused(op):
    with pytest.raises(RegistryError, match=r"an entry is for an aten overload such as aten\.add\.Tensor"):
        cpu_only(op, because="it is no op", samples=samples)


MISSPELT = [
    Dtype("slef", FLOATS),
    Dtype(("self", "bais"), FLOATS),
    Rank("input", (4,)),
    Is("facter", 2.0),
    OneOf("facter", (1.0, 2.0)),
    Given("bais"),
    AtMost("facter", 2),
    MultipleOf("slef", -1, 32),
    SameShape(("self", "bais")),
]


@pytest.mark.parametrize("condition", MISSPELT, ids=str)
def test_a_condition_on_a_misspelt_argument_is_refused(stretch, condition):
    wrong = next(name for name in condition.arguments() if name != "self")
    with pytest.raises(RegistryError, match=f"has no argument '{wrong}'; it has self, factor, bias"):
        lower(stretch, samples=samples, when=[TYPED, condition])(lowering)
    assert registry.find(stretch) is None


@pytest.mark.parametrize(
    "takes",
    [{"other": FLOATS}, together(("self", "other"), FLOATS), {"self": Tensor(FLOATS, cast_to="other")}],
    ids=["argument", "promoted", "dtype"],
)
def test_a_misspelt_argument_of_a_spec_is_refused(stretch, takes):
    with pytest.raises(RegistryError, match="has no argument 'other'"):
        lower(stretch, samples=samples, takes=takes, when=[TYPED])(lowering)


def test_a_misspelt_parameter_of_the_lowering_is_refused(stretch):
    with pytest.raises(RegistryError, match="has no argument 'factr'"):

        @lower(stretch, samples=samples, when=[TYPED])
        def misspelt(tt, self, factr, bias):
            return self


def test_an_ignored_argument_is_refused(stretch):
    with pytest.raises(RegistryError, match="ignores factor, bias: take it, or leave it one value with `Is`"):

        @lower(stretch, samples=samples, when=[TYPED])
        def ignoring(tt, self):
            return self


def test_an_argument_that_is_left_one_value_may_be_ignored(stretch):
    @lower(stretch, samples=samples, when=[Dtype("self", FLOATS), Is("factor", 2.0), Is("bias", None)])
    def doubling(tt, self):
        return tt.multiply(self, 2.0)

    assert registry.find(stretch).function is doubling


def test_one_of_several_values_is_no_reason_to_ignore_an_argument(stretch):
    with pytest.raises(RegistryError, match="ignores factor"):

        @lower(stretch, samples=samples, when=[TYPED, OneOf("factor", (1.0, 2.0))])
        def ignoring(tt, self, bias):
            return self


def test_a_lowering_takes_tt_first(stretch):
    with pytest.raises(RegistryError, match="takes `tt` first, got self, factor, bias"):

        @lower(stretch, samples=samples, when=[TYPED])
        def without_tt(self, factor, bias):
            return self


def test_a_tensor_argument_without_dtype_condition_is_refused(stretch):
    with pytest.raises(RegistryError, match="says nothing of the dtype of bias: say in `takes` which the device takes"):
        lower(stretch, samples=samples, takes={"self": FLOATS})(lowering)


@pytest.mark.parametrize("takes", [("self", "bias"), {"self": "float32"}, {"self": torch.float32}, ["self"]], ids=str)
def test_what_is_no_spec_is_refused(stretch, takes):
    with pytest.raises(RegistryError, match=r"a spec of ttreg\.specs or a tuple of dtypes"):
        lower(stretch, samples=samples, takes=takes)(lowering)


def test_a_check_does_not_replace_a_dtype_condition(stretch):
    with pytest.raises(RegistryError, match="dtype of self, bias"):
        lower(stretch, samples=samples, when=[Check("anything", lambda call: None)])(lowering)


@pytest.mark.parametrize("op", [aten.add_.Tensor, aten.add.out, aten.relu_.default, aten.max.dim_max], ids=str)
def test_an_entry_for_a_derived_overload_is_refused(op):
    with pytest.raises(RegistryError, match=f"{op} is derived from {functional_form(op)}; give that an entry instead"):
        cpu_only(op, because="it is derived", samples=samples)


def test_host_and_decomposed_entries_refuse_every_call_with_their_reason(stretch):
    cpu_only(stretch, because="the output shape depends on the data", samples=samples)
    entry = registry.find(stretch)
    assert (entry.kind, entry.module) == ("host", __name__)
    assert entry.conditions == (Never(because="the output shape depends on the data"),)
    refusal = entry.refuse(Call.bind(stretch, (torch.ones(2),), {}))
    assert str(refusal) == "runs on the host (the output shape depends on the data)"


def test_the_first_condition_that_fails_is_the_refusal(stretch):
    first, second = Rank("self", (4,)), Is("factor", 3.0)
    lower(stretch, samples=samples, when=[TYPED, first, second])(lowering)
    entry = registry.find(stretch)
    assert str(entry.refuse(Call.bind(stretch, (torch.ones(2),), {}))) == "rank of self == 4, got 1"
    assert str(entry.refuse(Call.bind(stretch, (torch.ones(1, 1, 1, 1),), {}))) == "factor == 3.0, got 2.0"
    assert entry.refuse(Call.bind(stretch, (torch.ones(1, 1, 1, 1), 3.0), {})) is None


def test_samples_have_the_same_values_each_time(stretch):
    lower(stretch, samples=samples, when=[TYPED])(lowering)
    entry = registry.find(stretch)
    (first,), (second,) = entry.samples(), entry.samples()
    assert torch.equal(first.args[0], second.args[0])


def test_samples_leave_the_generator_of_torch_alone(stretch):
    lower(stretch, samples=samples, when=[TYPED])(lowering)
    state = torch.get_rng_state()
    list(registry.find(stretch).samples())
    assert torch.equal(state, torch.get_rng_state())


DERIVED = {
    aten.add_.Tensor: aten.add.Tensor,
    aten.add.out: aten.add.Tensor,
    aten.add_.Scalar: aten.add.Scalar,
    aten.relu_.default: aten.relu.default,
    aten.relu.out: aten.relu.default,
    aten.clamp_.default: aten.clamp.default,
    aten.clamp_.Tensor: aten.clamp.Tensor,
    aten.addmm_.default: aten.addmm.default,
    aten.mm.out: aten.mm.default,
    aten.max.dim_max: aten.max.dim,
    aten.sum.IntList_out: aten.sum.dim_IntList,
    aten.cat.out: aten.cat.default,
    aten.copy_.default: aten.copy.default,
}
NOT_DERIVED = [
    aten.add.Tensor,
    aten._foreach_add_.Scalar,
    aten.native_batch_norm.default,
    aten.__and__.Tensor,
    aten.view.default,
]


@pytest.mark.parametrize("op", DERIVED, ids=str)
def test_in_place_and_out_overloads_are_derived_by_schema(op):
    assert functional_form(op) is DERIVED[op]


@pytest.mark.parametrize("op", NOT_DERIVED, ids=str)
def test_what_has_no_functional_form_is_not_derived(op):
    assert functional_form(op) is None


def test_derived_overloads_find_the_functional_entry():
    entries = Registry()
    entries._loaded = True
    entries.add(Entry(aten.add.Tensor, "host", (Never(because="a test"),), samples))
    entry = entries.find(aten.add.Tensor)
    assert entry is not None
    assert entries.find(aten.add_.Tensor) is entry
    assert entries.find(aten.add.out) is entry
    assert entries.find(aten.add.Scalar) is None
    assert entries.find(aten.add_.Scalar) is None


WRITES = {
    aten.add_.Tensor: ("self",),
    aten.add.out: ("out",),
    aten.max.dim_max: ("max", "max_values"),
    aten._foreach_add_.Scalar: ("self",),
    aten.native_batch_norm.default: ("running_mean", "running_var"),
    aten.view.default: (),
    aten.mm.default: (),
}


@pytest.mark.parametrize("op", WRITES, ids=str)
def test_written_arguments_are_those_that_the_op_changes(op):
    assert written_arguments(op) == WRITES[op]


@pytest.mark.parametrize(
    ("op", "view"),
    [
        (aten.view.default, True),
        (aten.t.default, True),
        (aten.split.Tensor, True),
        (aten.unbind.int, True),
        (aten.detach.default, True),
        (aten.add_.Tensor, False),
        (aten.add.Tensor, False),
        (aten.t_.default, False),
        (aten.clone.default, False),
    ],
    ids=str,
)
def test_views_are_the_ops_that_alias_and_write_nothing(op, view):
    assert is_view(op) is view
