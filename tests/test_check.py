"""`check=<PCC>`: the first op that differs from the host is named, and nothing else changes."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import ttreg
from ttreg.conditions import FLOATS
from ttreg.specs import Weight

X = torch.linspace(-2, 3, 12).reshape(3, 4)


def test_the_error_has_both_values_statistics(checked, replaced):
    replaced(ttreg.aten.abs.default, lambda tt, self: tt.multiply(self, 1.0))
    x = torch.tensor([[-3.0, 1.0], [2.0, float("-inf")]])
    with checked as session, pytest.raises(ttreg.AccuracyError) as caught:
        torch.abs(session.to_device(x))
    error, text = caught.value, str(caught.value)
    assert error.pcc == 0
    assert error.max_abs == error.max_ulp == float("inf")
    device, host = ([*line.split()] for line in text.splitlines() if line.startswith(("device", "host")))
    assert device == ["device", "-3", "2", "0", "2.16025", "0", "1"]
    assert host == ["host", "1", "3", "2", "0.816497", "0", "1"]
    assert "at [1, 1]: -inf on the device, inf on the host" in text


def test_the_error_tells_the_largest_difference(checked, replaced):
    replaced(ttreg.aten.abs.default, lambda tt, self: tt.multiply(self, 1.0))
    with checked, pytest.raises(ttreg.AccuracyError) as caught:
        torch.abs(torch.tensor([-1.0, 1.0, -0.5]))
    assert caught.value.pcc == pytest.approx(float(torch.tensor([[-1, 1, -0.5], [1, 1, 0.5]]).corrcoef()[0, 1]))
    assert caught.value.max_abs == 2
    assert caught.value.max_ulp == 2 * 0x3F800000  # from -1.0 to 1.0
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.op, copied.max_abs) == (str(caught.value), "aten.abs.default", 2)


def test_the_block_goes_on_and_nothing_was_written(checked, replaced):
    replaced(ttreg.aten.abs.default, lambda tt, self: tt.multiply(self, 1.0))
    with checked as session:
        x, out = session.to_device(X), session.to_device(torch.ones(3, 4))
        for write in (lambda: x.abs_(), lambda: torch.abs(x, out=out)):
            with pytest.raises(ttreg.AccuracyError):
                write()
        results = [x.tolist(), out.tolist(), (x + 1).tolist()]
    assert results == [X.tolist(), torch.ones(3, 4).tolist(), (X + 1).tolist()]


def test_in_place_ops_run_once_on_the_programs_data(checked, private_op):
    calls = []

    def shift_on_host(self):
        calls.append(self)
        return self.add_(1)

    op = private_op("shift(Tensor self) -> Tensor", lambda self: self + 1)
    in_place = private_op("shift_(Tensor(a!) self) -> Tensor(a!)", shift_on_host)
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self: tt.add(self, 1))
    with checked as session:
        x = session.to_device(X)
        view = x.view(12)
        in_place(x)
        in_place(view)
    assert torch.equal(torch.tensor(x.tolist()), X + 1 + 1)
    on_device = [t for t in calls if not t.is_meta]  # shapes are worked out on meta tensors
    assert len(on_device) == 2
    assert all(t.data_ptr() != x.data_ptr() for t in on_device)


@pytest.fixture
def pair(private_op):
    """`pair(Tensor self) -> (Tensor, Tensor)`: `self + 1` and `self * 2`."""
    return private_op("pair(Tensor self) -> (Tensor, Tensor)", lambda self: (self + 1, self * 2))


def test_the_wrong_one_of_several_outputs_is_named(checked, pair):
    ttreg.lower(pair, samples=list, takes=FLOATS)(lambda tt, self: (tt.add(self, 1), tt.multiply(self, self)))
    with checked, pytest.raises(ttreg.AccuracyError, match=r"output 1, float32\[3, 4\]"):
        pair(X)


def test_an_output_made_later_is_compared_when_it_is_read(checked, pair):
    ttreg.lower(pair, samples=list, takes=FLOATS)(lambda tt, self: (tt.add(self, 1), lambda: tt.multiply(self, self)))

    def program(read):
        with checked as session:
            x = session.to_device(X)
            second = pair(x)[1]
            x.zero_()  # what was is compared
            read(second)

    for read in (lambda second: second.tolist(), lambda second: second + 1, repr):
        with pytest.raises(ttreg.AccuracyError, match="output 1") as caught:
            program(read)
        assert caught.value.max_abs == pytest.approx(float((X * X - X * 2).abs().max()))
    with checked as session:  # and what nobody reads is not
        assert pair(session.to_device(X))[0].tolist() == (X + 1).tolist()


def test_a_right_output_made_later_is_what_it_is_without_the_check(checked, pair):
    ttreg.lower(pair, samples=list, takes=FLOATS)(lambda tt, self: (tt.add(self, 1), lambda: tt.multiply(self, 2)))
    with checked as session:
        x = session.to_device(X)
        second = pair(x)[1]
        x.zero_()
        assert second.tolist() == (X * 2).tolist()


def test_a_wrong_view_is_named_and_not_the_op_that_uses_it(checked, replaced):
    replaced(ttreg.aten.t.default, lambda tt, self: tt.reshape(self, [self.shape[1], self.shape[0]]))
    with checked as session:
        x = session.to_device(X)
        view = x.t()
        with pytest.raises(ttreg.AccuracyError, match=r"aten\.t\.default\(self=float32\[3, 4\]\)"):
            view + 1
        assert view.tolist() == X.t().tolist()  # from the host's memory, which was never wrong


def test_right_views_of_every_kind_pass(checked):
    with checked as session:
        x = session.to_device(X)
        made = [
            x.t()[1:, ::2],
            x.view(2, 6).t(),
            x[1].expand(3, 4),
            x.expand(2, 3, 4).mT,
            *x.unbind(1),
            *x.split([1, 2]),
            x.as_strided((4, 3), (3, 1)),
            x.diagonal(1),
            x.unfold(1, 2, 1),
        ]
        results = [(view + 1).tolist() for view in made]
    with torch.no_grad():
        x = X.clone()
        views = [
            *(x.t()[1:, ::2], x.view(2, 6).t(), x[1].expand(3, 4), x.expand(2, 3, 4).mT, *x.unbind(1)),
            *(*x.split([1, 2]), x.as_strided((4, 3), (3, 1)), x.diagonal(1), x.unfold(1, 2, 1)),
        ]
    assert results == [(view + 1).tolist() for view in views]
    assert session.report().totals.host == 0


def test_a_storage_taken_under_other_strides_is_compared(checked, monkeypatch):
    monkeypatch.setattr("ttreg.runtime.session.relayout", lambda tt, value, way: tt.permute(value, [1, 0]))
    with checked as session:
        x = session.to_device(X)
        with pytest.raises(ttreg.AccuracyError, match=r"as_strided.*relayout made"):
            x.as_strided((4, 3), (3, 1)) + 1


def test_rounding_that_was_asked_for_is_no_difference():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 40)), torch.randn(33, 64)
    for precision in ("preserve", "bfloat16"):
        for kind in ("bfloat4_b", None):
            ttreg.carry_in(model, kind)
            with ttreg.device_mode(device="emulated", check=0.9999, precision=precision) as session, torch.no_grad():
                model(x)
                torch.full_like(session.to_device(x), 0.1) * 1  # constant, where no PCC is defined
    assert session.report().totals.device == 5


def test_a_block_float_weight_is_compared_as_the_device_has_it(replaced):
    op = ttreg.aten.mm.default
    replaced(op, lambda tt, self, mat2: tt.matmul(self, tt.abs(mat2)), {"self": FLOATS, "mat2": Weight(FLOATS)})
    weight = nn.Parameter(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)))
    ttreg.carry_in(weight, "bfloat4_b")
    x = torch.randn(5, 16)
    mode = ttreg.device_mode(device="emulated", check=0.9, min_upload_numel=0)
    with mode, torch.no_grad(), pytest.raises(ttreg.AccuracyError, match=r"aten\.mm\.default") as caught:
        torch.mm(x, weight)
    assert "ttreg.carry_in(mat2, 'bfloat4_b')" in caught.value.snippet


def test_what_is_all_rounding_is_no_difference_and_a_wrong_constant_is_one(checked, replaced):
    torch.manual_seed(0)
    with checked as session:
        x = session.to_device(torch.randn(8, 64))
        normalized = nn.functional.layer_norm(x, [64])
        normalized.mean(-1)
        (normalized * 3).sum(-1)
        masked = x.masked_fill(x > 0, torch.finfo(torch.float32).min)
        masked.softmax(-1)
    replaced(ttreg.aten.neg.default, lambda tt, self: tt.multiply(self, -1.01))
    with checked, pytest.raises(ttreg.AccuracyError):
        torch.neg(torch.ones(3, 4))


def test_values_beside_the_end_of_the_range_still_count(checked, replaced):
    replaced(ttreg.aten.neg.default, lambda tt, self: tt.multiply(self, tt.multiply(self, -1)))
    x = torch.tensor([torch.finfo(torch.float32).min, float("nan"), 0.5, -0.5, 2.0])
    with checked, pytest.raises(ttreg.AccuracyError):
        torch.neg(x)


NOT_FINITE = torch.tensor([0.5, float("nan"), 2.0, float("nan"), -1.0, float("inf"), 3.0])


def test_values_that_are_not_finite_are_counted_apart(checked, replaced):
    replaced(ttreg.aten.neg.default, lambda tt, self: tt.where(tt.isnan(self), 1.0, tt.multiply(self, -1.0)))
    with checked as session, pytest.raises(ttreg.AccuracyError, match=r"finite; on one side only there are 2 NaN") as e:
        torch.neg(session.to_device(NOT_FINITE))
    assert (e.value.nans, e.value.infinities, e.value.pcc) == (2, 0, 0)
    assert e.value.finite_pcc == pytest.approx(1)


def test_the_error_counts_infinities_of_one_side(checked, replaced):
    replaced(ttreg.aten.neg.default, lambda tt, self: tt.where(tt.isinf(self), 7.0, tt.multiply(self, -1.0)))
    with checked as session, pytest.raises(ttreg.AccuracyError, match="only there are 1 infinite") as caught:
        torch.neg(session.to_device(NOT_FINITE.bfloat16()))
    assert (caught.value.nans, caught.value.infinities) == (0, 1)


def test_nan_that_bfloat16_cannot_hold_is_reported_and_no_error(checked, replaced):
    infinite = lambda tt, self: tt.where(tt.isnan(self), float("inf"), tt.multiply(self, -1.0))  # noqa: E731
    replaced(ttreg.aten.neg.default, infinite)
    with checked as session:
        torch.neg(session.to_device(NOT_FINITE.bfloat16()))
        torch.neg(session.to_device(X.bfloat16()))
        report = session.report()
        with pytest.raises(ttreg.AccuracyError):
            torch.neg(session.to_device(NOT_FINITE))  # float32 can
    (row,) = [row for row in report.ops if row.op == "aten.neg.default"]
    assert row.nans_lost == 2
    assert "NaN made infinite" in str(report)
    assert '"nans_lost":2' in report.model_dump_json()


def test_the_report_says_how_many_results_were_compared_and_the_lowest_pcc(checked, replaced):
    nearly = lambda tt, self: tt.add(tt.multiply(self, -1.0), tt.multiply(tt.abs(self), 0.01))  # noqa: E731
    replaced(ttreg.aten.neg.default, nearly)
    with checked as session:
        x = session.to_device(X)
        torch.abs(x)
        torch.neg(x)
        torch.relu(x)
        report = session.report()
    assert (report.checked.results, report.checked.op) == (3, "aten.neg.default")
    assert session.settings.check <= report.checked.lowest_pcc < 1
    text = f"checked: 3 results are the host's; the lowest PCC is {report.checked.lowest_pcc:.6f}, of aten.neg.default"
    assert text in str(report)
    assert '"checked":{"results":3' in report.model_dump_json()


def test_lost_nan_do_not_hide_what_else_differs(checked, replaced):
    replaced(ttreg.aten.neg.default, lambda tt, self: tt.where(tt.isnan(self), float("inf"), tt.square(self)))
    with checked as session, pytest.raises(ttreg.AccuracyError, match=r"below 0\.99; on one side only there are 2 NaN"):
        torch.neg(session.to_device(NOT_FINITE[:5].bfloat16()))
