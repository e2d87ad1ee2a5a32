"""Ops of other libraries, which have no entry: they run on the host, are followed, and are told of."""

from __future__ import annotations

import pytest
import torch

import ttreg

X = torch.arange(12.0).reshape(3, 4) / 4


def test_an_op_of_a_library_without_entry_runs_on_the_host(private_op, same_as_cpu):
    rotate = private_op("rotate(Tensor self, int by, Tensor? other=None) -> (Tensor, Tensor)", rotated)
    same_as_cpu(lambda tensor: rotate(tensor(X), 2, other=tensor(X)))


def rotated(self, by, other=None):
    return self.roll(by, 1), self if other is None else other + self


def doubled_in_place(self):
    self.mul_(2)


def grown_in_place(tensors):
    for tensor in tensors:
        tensor.add_(1)


def test_an_op_that_mutates_its_argument_on_the_host_is_followed(private_op, same_as_cpu):
    double = private_op("double_(Tensor(a!) self) -> ()", doubled_in_place)
    grow = private_op("grow_(Tensor(a!)[] tensors) -> ()", grown_in_place)

    def program(tensor):
        t = tensor(X)
        view = t.t()
        before = view + 1
        double(t)
        middle = view + 1
        grow([view, X.clone()])
        return before, middle, t, view, view + 1

    same_as_cpu(program)


def test_the_unknown_op_is_in_the_report_with_its_reason(private_op, device):
    rotate = private_op("rotate(Tensor self, int by, Tensor? other=None) -> (Tensor, Tensor)", rotated)
    with device as session:
        rotate(session.to_device(X), 1)
    [row] = [row for row in session.report().ops if row.op == "ttreg_tests.rotate.default"]
    assert (row.placement, row.condition, row.count) == ("host", "no entry", 1)
    assert row.reason


def test_on_fallback_raise_names_op_metadata_and_reason(private_op):
    rotate = private_op("rotate(Tensor self, int by, Tensor? other=None) -> (Tensor, Tensor)", rotated)
    with ttreg.device_mode(device="emulated", on_fallback="raise", min_upload_numel=0) as session:
        t = session.to_device(X)
        with pytest.raises(ttreg.FallbackError) as caught:
            rotate(t, 1)
        again = (t + 1).tolist()
    for part in ("ttreg_tests.rotate.default", "float32[3, 4]", "by=1", "no entry"):
        assert part in str(caught.value)
    assert again == (X + 1).tolist()


def test_on_fallback_warn_says_it_at_the_users_line_and_goes_on(private_op):
    rotate = private_op("rotate(Tensor self, int by, Tensor? other=None) -> (Tensor, Tensor)", rotated)
    with ttreg.device_mode(device="emulated", on_fallback="warn", min_upload_numel=0) as session:
        t = session.to_device(X)
        with pytest.warns(UserWarning, match=r"ttreg_tests\.rotate\.default.*fell back to the host") as caught:
            result, _ = rotate(t, 1)
    assert caught[0].filename == __file__
    assert result.tolist() == X.roll(1, 1).tolist()


def test_on_fallback_raise_lets_integers_and_small_inputs_pass():
    with ttreg.device_mode(device="emulated", on_fallback="raise"):
        assert (torch.arange(3) * 2**40).tolist() == [0, 2**40, 2**41]
        assert (X + 1).tolist() == (X + 1).tolist()
        assert X[0].tolist() == [0.0, 0.25, 0.5, 0.75]
