"""Calls that the device fails at: PyTorch's own exception where it refuses them too, else what the user wants."""

from __future__ import annotations

import pytest
import torch

import ttreg
from ttreg.conditions import FLOATS, Check
from ttreg.devices.base import RefusedByDevice
from ttreg.specs import Index, together

X = torch.arange(12.0).reshape(3, 4) / 4


@pytest.fixture
def twice(private_op):
    """`twice(Tensor self, int times=2) -> Tensor`, which PyTorch refuses for negative times; its shape function not."""
    return private_op("twice(Tensor self, int times=2) -> Tensor", picky)


def picky(self, times=2):
    if self.is_cpu and times < 0:
        raise IndexError(f"times is {times}, and {torch.rand(1).shape} is not")
    return self * times


def entry(op, function, *conditions, **options):
    return ttreg.lower(op, samples=list, takes=FLOATS, when=conditions, **options)(function)


def broken(tt, self, times):
    raise KeyError("forgotten")


def refused(tt, self, times):
    raise RefusedByDevice("ttnn.matmul", "no such program")


FAILING = {broken: ttreg.LoweringError, refused: ttreg.DeviceError}


@pytest.mark.parametrize("lowering", FAILING, ids=lambda f: f.__name__)
@pytest.mark.parametrize("wanted", ["raise", "fallback"])
def test_a_failing_call_that_pytorch_refuses_raises_what_pytorch_raises(lowering, wanted, twice):
    entry(twice, lowering)
    with pytest.raises(IndexError) as expected:
        twice(X, -1)
    torch.manual_seed(5)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error=wanted) as session:
        x = session.to_device(X)
        for _ in range(2):
            with pytest.raises(IndexError) as caught:
                twice(x, -1)
        downloads = session.report().transfers.downloads
        if wanted == "raise":
            with pytest.raises(FAILING[lowering]):
                twice(x, 1)
            assert not downloads
            assert not session.report().totals.host
        drawn = torch.rand(3)
    assert str(caught.value) == str(expected.value)
    if wanted == "raise":  # the trial on the host draws no numbers that are the program's
        assert drawn.tolist() == torch.rand(3, generator=torch.Generator().manual_seed(5)).tolist()


@pytest.mark.parametrize("lowering", FAILING, ids=lambda f: f.__name__)
def test_a_program_that_catches_runtime_errors_catches_those_of_the_device(lowering, twice, device):
    entry(twice, lowering)
    with device as session:
        try:
            twice(session.to_device(X))
        except RuntimeError as error:
            caught = error
    assert isinstance(caught, ttreg.TtregError)


def test_a_trial_on_the_host_writes_to_nothing_of_the_programs(private_op, device):
    def write_and_raise(self, other):
        if self.is_meta:
            return self
        self.add_(1)
        other.add_(1)
        raise ValueError("after writing")

    op = private_op("nudge(Tensor self, Tensor other) -> Tensor", lambda self, other: self + other)
    in_place = private_op("nudge_(Tensor(a!) self, Tensor other) -> Tensor(a!)", write_and_raise)
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self, other: 1 / 0)
    plain = X.clone()
    with device as session:
        x = session.to_device(X)
        view = x.t()
        with pytest.raises(ValueError, match="after writing"):
            in_place(x, plain)
        assert x.tolist() == view.t().tolist() == plain.tolist() == X.tolist()


def test_a_trial_on_the_host_sees_which_arguments_share_memory(private_op, device):
    def alike(self, other):
        if self.is_meta:
            return self + 1
        raise ValueError("the same memory" if self.data_ptr() == other.data_ptr() else "different memory")

    op = private_op("alike(Tensor self, Tensor other) -> Tensor", alike)
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self, other: 1 / 0)
    with device as session:
        x, y = session.to_device(X), session.to_device(X)
        for others in (x, x[:]), (X, X[:]):
            with pytest.raises(ValueError, match="the same"):
                op(*others)
        with pytest.raises(ValueError, match="different"):
            op(x, y)


def test_a_view_that_cannot_be_made_is_the_hosts_where_that_is_wanted(replaced):
    replaced(torch.ops.aten.select.int, lambda tt, self, dim, index: 1 / 0)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        view = session.to_device(X)[1]
        with pytest.raises(ttreg.LoweringError, match=r"aten\.select"):
            view + 1
        assert view.tolist() == X[1].tolist()
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_device_error="fallback") as session:
        results = [session.to_device(X)[1] + 1 for _ in range(2)]
    assert [result.tolist() for result in results] == [(X[1] + 1).tolist()] * 2
    rows = [row for row in session.report().ops if row.op == "aten.select.int" and row.placement == "host"]
    assert sum(row.count for row in rows) >= 1  # the second may be made of the whole storage in another way
    assert "ZeroDivisionError" in rows[0].got


def fails(*_):
    raise AssertionError("it cannot be judged")


UNJUDGED = {
    "a condition": {"condition": Check("times is well", fails)},
    "outputs": {"outputs": fails},
    "bounds": {"takes": {"self": FLOATS, "places": Index((torch.int64,), below=fails)}},
}


@pytest.mark.parametrize("what", UNJUDGED)
def test_a_call_that_the_registry_cannot_judge_is_the_hosts(what, private_op, device):
    op = private_op("places(Tensor self, Tensor places) -> Tensor", lambda self, places: self[places])
    options = dict(UNJUDGED[what])
    conditions = [options.pop("condition")] if "condition" in options else []
    takes = options.pop("takes", {"self": FLOATS, "places": (torch.int64,)})
    ttreg.lower(op, samples=list, takes=takes, when=conditions, **options)(lambda tt, self, places: 1 / 0)
    index = torch.tensor([2, 0])
    with device as session:
        result = op(session.to_device(X), index)
    assert result.tolist() == X[index].tolist()
    [row] = [row for row in session.report().ops if row.op == "ttreg_tests.places.default"]
    assert (row.placement, row.got) == ("host", "AssertionError: it cannot be judged")
    assert row.condition == ("times is well" if conditions else "the entry can judge the call")
    assert row.reason


def test_a_call_whose_numbers_have_no_common_dtype_is_the_hosts(private_op, device):
    op = private_op("added(Tensor self, Tensor[] others) -> Tensor", lambda self, others: self + len(others))
    takes = {"self": FLOATS, **together(["others"], FLOATS)}
    ttreg.lower(op, samples=list, takes=takes)(lambda tt, self, others: 1 / 0)
    with device as session:
        result = op(session.to_device(X), [])
    assert result.tolist() == X.tolist()
    [row] = [row for row in session.report().ops if row.op == "ttreg_tests.added.default"]
    assert (row.placement, row.condition) == ("host", "the entry can judge the call")
