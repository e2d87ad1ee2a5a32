"""Wrong lowerings, refused calls and wrong values: each is told of by op, arguments and entry."""

from __future__ import annotations

import pytest
import torch

import ttreg
from ttreg.conditions import FLOATS, Is
from ttreg.devices.base import RefusedByDevice
from ttreg.registry import registry
from ttreg.samples import Sample
from ttreg.verification.trial import trial

X = torch.arange(12.0).reshape(3, 4) / 4


@pytest.fixture
def twice(private_op):
    """`twice(Tensor self, int times=2) -> Tensor`, an op without entry."""
    return private_op("twice(Tensor self, int times=2) -> Tensor", lambda self, times=2: self * times)


def entry(op, function, *conditions):
    return ttreg.lower(op, samples=list, takes=FLOATS, when=conditions)(function)


def broken(tt, self, times):
    raise KeyError("forgotten")


def misshapen(tt, self, times):
    return tt.reshape(self, [4, 3])


def mistyped(tt, self, times):
    return tt.typecast(self, tt.bfloat16)


def doubled(tt, self, times):
    return self, self


def nothing(tt, self, times):
    return None


def a_number(tt, self, times):
    return 3


WRONG = {
    broken: "KeyError: 'forgotten'",
    misshapen: r"shape \[4, 3\]",
    mistyped: "bfloat16",
    doubled: "2 tensors where the op has 1",
    nothing: "returned None",
    a_number: "AttributeError",
}


@pytest.mark.parametrize("lowering", WRONG, ids=lambda f: f.__name__)
def test_a_wrong_lowering_is_told_of_naming_op_metadata_and_entry(lowering, twice, device):
    entry(twice, lowering)
    with device as session:
        x = session.to_device(X)
        for _ in range(2):
            with pytest.raises(ttreg.LoweringError, match=WRONG[lowering]) as caught:
                twice(x, 3)
        result = (x + 1).tolist()
    for part in ("ttreg_tests.twice.default", f"{__name__}.{lowering.__name__}", "float32[3, 4]", "times=3"):
        assert part in str(caught.value)
    assert result == (X + 1).tolist()


def test_the_cause_of_a_lowering_error_is_kept(twice, device):
    entry(twice, broken)
    with device, pytest.raises(ttreg.LoweringError) as caught:
        twice(X)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("lowering", WRONG, ids=lambda f: f.__name__)
def test_a_wrong_lowering_falls_back_where_that_is_wanted_and_the_report_says_what_failed(lowering, twice):
    entry(twice, lowering)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error="fallback") as session:
        x = session.to_device(X)
        results = [twice(x), twice(x, 3), twice(x)]
    assert [r.tolist() for r in results] == [(X * n).tolist() for n in (2, 3, 2)]
    rows = [row for row in session.report().ops if row.op == "ttreg_tests.twice.default"]
    assert {row.placement for row in rows} == {"host"}
    assert sum(row.count for row in rows) == 3
    assert f"{__name__}.{lowering.__name__} of ttreg_tests.twice.default failed" in rows[0].got
    assert rows[0].condition == "the lowering does not fail"
    assert session.report().totals.host_float == 3


def test_a_wrong_lowering_is_a_fallback_that_on_fallback_forbids(twice):
    entry(twice, broken)
    mode = ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error="fallback", on_fallback="raise")
    with mode, pytest.raises(ttreg.FallbackError, match="forgotten"):
        twice(X)


def test_a_lowering_error_does_not_change_what_an_in_place_op_would_write(private_op, device):
    op = private_op("shift(Tensor self) -> Tensor", lambda self: self + 1)
    in_place = private_op("shift_(Tensor(a!) self) -> Tensor(a!)", lambda self: self.add_(1))
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self: 1 / 0)
    with device as session:
        x = session.to_device(X)
        view = x.t()
        with pytest.raises(ttreg.LoweringError):
            in_place(x)
    assert x.tolist() == view.t().tolist() == X.tolist()


def refused(tt, self, times):
    raise RefusedByDevice("ttnn.matmul", "no such program")


def test_a_refused_call_is_a_device_error_naming_op_metadata_and_ttnns_words(twice, device):
    entry(twice, refused)
    with device as session:
        x = session.to_device(X)
        with pytest.raises(ttreg.DeviceError, match=r"ttnn\.matmul: no such program") as caught:
            twice(x)
        result = x + 1
    for part in ("ttreg_tests.twice.default", "float32[3, 4]", "times=2"):
        assert part in str(caught.value)
    assert result.tolist() == (X + 1).tolist()


def test_a_refused_call_falls_back_where_that_is_wanted_and_is_recorded(twice):
    entry(twice, refused)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error="fallback") as session:
        x = session.to_device(X)
        results = [twice(x), twice(x, 3), twice(x)]
    assert [r.tolist() for r in results] == [(X * n).tolist() for n in (2, 3, 2)]
    rows = [row for row in session.report().ops if row.op == "ttreg_tests.twice.default" and row.count]
    assert {row.placement for row in rows} == {"host"}
    assert sum(row.count for row in rows) == 3
    assert "no such program" in rows[0].got
    assert session.report().totals.host_float >= 3


def test_values_are_checked_where_that_is_wanted(twice):
    entry(twice, lambda tt, self, times: tt.multiply(self, self))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, check=0.999) as session:
        x = session.to_device(X)
        with pytest.raises(ttreg.AccuracyError) as caught:
            twice(x)
        result = (x + 1).tolist()
    for part in ("ttreg_tests.twice.default", "float32[3, 4]", "0.999"):
        assert part in str(caught.value)
    assert result == (X + 1).tolist()


def test_right_values_pass_the_check_and_change_nothing(twice):
    entry(twice, lambda tt, self, times: tt.multiply(self, times))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, check=0.9999) as session:
        x = session.to_device(X)
        y = twice(twice(x, 3), 3) + twice(torch.zeros(3, 4))
        y.add_(1)
        z = y.t() @ y
    expected = X * 9 + 1
    assert y.tolist() == expected.tolist()
    torch.testing.assert_close(torch.tensor(z.tolist()), expected.t() @ expected)


def test_an_in_place_op_is_checked_against_what_it_had_before(private_op):
    op = private_op("shift(Tensor self) -> Tensor", lambda self: self + 1)
    in_place = private_op("shift_(Tensor(a!) self) -> Tensor(a!)", lambda self: self.add_(1))
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self: tt.add(self, 1))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, check=0.99) as session:
        x = session.to_device(X)
        in_place(x)
        in_place(x.t())
    assert x.tolist() == (X + 2).tolist()


def test_a_refusal_is_told_with_what_was_got(twice, device):
    entry(twice, lambda tt, self, times: tt.multiply(self, 2), Is("times", 2, because="twice is twice"))
    with device as session:
        assert twice(session.to_device(X), 5).tolist() == (X * 5).tolist()
    [row] = [row for row in session.report().ops if row.op == "ttreg_tests.twice.default"]
    assert (row.placement, row.condition, row.got, row.reason) == ("host", "times == 2", "5", "twice is twice")
    assert registry.find(twice).kind == "device"


def late(function):
    """A lowering of `pair` whose second output is made by `function` when it is first needed."""
    return lambda tt, self: (tt.add(self, 1), lambda: function(tt, self))


def late_key_error(tt, self):
    raise KeyError("late")


def late_shape(tt, self):
    return tt.reshape(self, [4, 3])


def late_refusal(tt, self):
    return refused(tt, self, 1)


LATE = {
    late_key_error: (ttreg.LoweringError, "late"),
    late_shape: (ttreg.LoweringError, r"shape \[4, 3\]"),
    late_refusal: (ttreg.DeviceError, "no such program"),
}


@pytest.fixture
def pair(private_op):
    """`pair(Tensor self) -> (Tensor, Tensor)`, an op without entry."""
    return private_op("pair(Tensor self) -> (Tensor, Tensor)", lambda self: (self + 1, self * 2))


@pytest.mark.parametrize("function", LATE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("read", [lambda t: t.tolist(), lambda t: t + 1, repr], ids=["tolist", "add", "repr"])
def test_an_output_that_cannot_be_made_later_is_told_of_each_time(function, read, pair, device):
    ttreg.lower(pair, samples=list, takes=FLOATS)(late(function))
    kind, text = LATE[function]
    with device as session:
        first, second = pair(session.to_device(X))
        for _ in range(2):
            with pytest.raises(kind, match=text):
                read(second)
        del second
    assert first.tolist() == (X + 1).tolist()


@pytest.mark.parametrize("function", LATE, ids=lambda f: f.__name__)
def test_an_output_that_cannot_be_made_later_is_the_hosts_where_that_is_wanted(function, pair):
    ttreg.lower(pair, samples=list, takes=FLOATS)(late(function))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error="fallback") as session:
        x = session.to_device(X)
        first, second = pair(x)
        x.add_(100)
        results = [second + 0, second, first]
    assert [r.tolist() for r in results] == [(X * 2).tolist(), (X * 2).tolist(), (X + 1).tolist()]
    [row] = [row for row in session.report().ops if row.op.startswith("ttreg_tests.pair") and row.placement == "host"]
    assert row.count == 1
    assert LATE[function][1].replace("\\", "") in row.got


def test_an_output_made_later_of_a_call_that_pytorch_refuses_raises_what_pytorch_raises(private_op, device):
    def refusing(self):
        if self.is_cpu:
            raise IndexError("no pair of these")
        return self + 1, self + 1

    op = private_op("pair(Tensor self) -> (Tensor, Tensor)", refusing)
    ttreg.lower(op, samples=list, takes=FLOATS)(late(late_key_error))
    with device as session:
        _, second = op(session.to_device(X))
        for read in (lambda t: t.tolist(), lambda t: t + 1, repr):
            with pytest.raises(IndexError, match="no pair of these"):
                read(second)
        del second


def test_an_unread_output_that_cannot_be_made_does_not_cost_the_others(pair, device):
    ttreg.lower(pair, samples=list, takes=FLOATS)(late(late_key_error))
    kept = []

    def program():
        with device as session:
            kept.extend(pair(session.to_device(X)))
            kept.extend(session.to_device(X) + n for n in range(5))

    with pytest.raises(ttreg.LoweringError):
        program()
    first, _, *others = kept
    assert first.tolist() == (X + 1).tolist()
    assert [t.tolist() for t in others] == [(X + n).tolist() for n in range(5)]
    assert all((t + 1).tolist() == (X + n + 1).tolist() for n, t in enumerate(others))


def test_an_output_made_later_is_made_once_and_from_the_inputs_of_its_time(pair, device):
    made = []

    def doubled_later(tt, self):
        made.append(1)
        return tt.multiply(self, 2)

    ttreg.lower(pair, samples=list, takes=FLOATS)(late(doubled_later))
    with device as session:
        x = session.to_device(X)
        _, second = pair(x)
        x.add_(100)
        before = len(made)
        view = second.t()
        results = [(view + 0).tolist(), second.tolist(), (second + 0).tolist()]
    assert before == 0
    assert made == [1]
    assert results == [(X * 2).t().tolist(), (X * 2).tolist(), (X * 2).tolist()]


@pytest.mark.parametrize("factor", [10, 0.5, -1])
def test_a_bool_carried_by_another_number_than_0_and_1_is_told_of_when_an_entry_is_tried(factor, private_op, device):
    """Its values are right as truth values, and sum to something else."""
    op = private_op("above_one(Tensor self) -> Tensor", lambda self: self > 1)

    def scaled(tt, self):
        return tt.multiply(tt.typecast(tt.gt(self, 1.0), tt.bfloat16), factor)

    entry(op, scaled)
    with device as session, pytest.raises(ttreg.LoweringError, match="carried by other numbers than 0 and 1"):
        trial(session, registry.find(op), Sample(X))
