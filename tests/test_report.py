"""The report: counts by placement and reason, transfers, and its two renderings."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

import ttreg
from ttreg.conditions import FLOATS, Dtype, Is, Never
from ttreg.report import OpRow, Report, there_and_back, why
from ttreg.runtime import ledger

X = torch.arange(12.0).reshape(3, 4) / 4


@pytest.fixture
def rows_of(private_op, device):
    """Runs a program and gives its session's rows of our own ops, by name and placement."""

    def run(program, block=device):
        with block as session:
            program(session)
        report = session.report()
        rows = {}
        for row in report.ops:
            if row.op.startswith("ttreg_tests."):
                rows[row.op.split(".")[1], row.placement] = row
        return rows, report

    return run


@pytest.fixture
def twice(private_op):
    """`twice(Tensor self, int times=2) -> Tensor`, which the device runs for two times only."""
    op = private_op("twice(Tensor self, int times=2) -> Tensor", lambda self, times=2: self * times)
    conditions = [Dtype("self", FLOATS), Is("times", 2, because="twice is twice")]
    ttreg.lower(op, samples=list, when=conditions)(lambda tt, self: tt.multiply(self, 2))
    return op


def test_calls_are_counted_by_placement_and_reason(twice, rows_of):
    def program(session):
        x = session.to_device(X)
        for times in (2, 2, 2, 3, 4, 4):
            twice(x, times)
        twice(X.int())

    rows, report = rows_of(program)
    on_device = rows["twice", "device"]
    assert (on_device.count, on_device.condition, on_device.reason, on_device.got) == (3, "", "", "")
    refused = {(r.condition, r.got): r.count for r in report.ops if r.op == "ttreg_tests.twice.default" and r.condition}
    assert refused == {
        ("times == 2", "3"): 1,
        ("times == 2", "4"): 2,
        ("self in {bfloat16, float32}", "int32"): 1,
    }
    assert {r.reason for r in report.ops if r.condition == "times == 2"} == {"twice is twice"}


def test_host_float_counts_the_calls_that_a_better_registry_could_win(twice, rows_of):
    integers = X.int()

    def program(session):
        twice(X, 3)
        twice(integers, 3)

    totals = rows_of(program)[1].totals
    assert (totals.calls, totals.host, totals.host_float) == (2, 2, 1)


def test_draws_and_fills_and_writes_to_the_hosts_memory_count_as_nothing_to_win(device):
    with device as session, torch.no_grad():
        layer = torch.nn.Linear(40, 40)
        layer.weight.uniform_(-1, 1).mul_(3).clamp_(-2, 2)
        torch.nn.init.zeros_(layer.bias)
        torch.empty(40).bernoulli_(0.5)
        on_device = layer(torch.ones(2, 40))
        (
            torch.rand_like(on_device),
            torch.zeros_like(on_device, dtype=torch.int64),
            on_device.new_ones(3, dtype=torch.int32),
        )
    totals = session.report().totals
    assert totals.host > 5
    assert (totals.host_float, totals.share) == (0, 1.0)
    with device as session:
        torch.ones(40, 40).cholesky_inverse()  # reads its input
    assert session.report().totals.host_float == 1


def test_calls_on_tensors_without_elements_count_as_nothing_to_win():
    def corners():
        boxes = X[torch.zeros(0, dtype=torch.int64)]
        return boxes[:, 0::2] * boxes[:, 1::2], boxes[:, 0::40] / 2.0  # strides that PyTorch's kernel is asked for

    with ttreg.device_mode(device="emulated", on_fallback="raise") as session:
        found = corners()
    assert [(f.shape, f.stride()) for f in found] == [(c.shape, c.stride()) for c in corners()]
    totals = session.report().totals
    assert totals.host > 3
    assert totals.host_float == 0


def test_small_tensors_of_the_host_that_change_their_dtype_count_as_nothing_to_win():
    def length(frames):
        return ((frames + 5) / 2).ceil().to(torch.int64) - 1

    with ttreg.device_mode(device="emulated", on_fallback="raise") as session:
        assert length(torch.tensor(1001)) == 502
        assert session.report().totals.host_float == 0
    with ttreg.device_mode(device="emulated") as session:
        (torch.ones(40, 40) * 2).to(torch.int64)  # comes down
    assert session.report().totals.host_float == 1


def test_building_a_model_is_no_fallback_to_complain_of():
    with ttreg.device_mode(device="emulated", on_fallback="raise"):
        layer = torch.nn.Linear(40, 40)
        torch.nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():
            layer.weight.mul_(2).sub_(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_calls_in_dtypes_that_ttnn_lacks_are_named_apart(device, dtype):
    with device as session:
        scores = torch.ones(40, 40) @ torch.ones(40, 40)
        scores.to(dtype).softmax(1).sum()
        torch.linalg.qr(scores)
    totals = session.report().totals
    assert (totals.device, totals.host_float, totals.host_no_dtype) == (1, 4, 3)
    assert (totals.share, totals.share_of_ttnns_dtypes) == (1 / 5, 1 / 2)
    assert "without 3 in float64 or float16, which ttnn does not have: 50.0% on the device" in str(session.report())


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x[x > 0.5],
        lambda x: x[:, torch.tensor([True, False, True, False])],
        lambda x: torch.argwhere(x),
    ],
)
def test_a_shape_that_depends_on_the_data_is_said_to(device, program):
    with device as session:
        program(session.to_device(X))
    said = {why(row) for row in session.report().ops if row.placement == "host" and "item" not in row.op}
    assert any("depends on the data" in reason or "for each element" in reason for reason in said), said
    assert not any("without values" in reason for reason in said)


def test_a_wrong_call_is_said_to_be_refused_by_pytorch(device):
    with device as session, pytest.raises(RuntimeError):
        session.to_device(X) @ session.to_device(X)
    assert {row.condition for row in session.report().ops} == {"accepted by PyTorch without values"}


def test_rows_that_say_nothing_are_left_out_of_the_tables(device):
    with device as session:
        with torch.profiler.record_function("a range"):
            x = torch.ones(40, 40) + 1
        torch.empty(3).set_(torch.ones(3).untyped_storage())
        x.is_pinned()
        torch.ones(3, dtype=torch.float64).sum().item()
    report = session.report()
    hidden = ("profiler._record_function_enter_new", "profiler._record_function_exit", "aten.set_.source_Storage")
    kept = ("aten.add.Tensor", "aten.sum.default", "aten._local_scalar_dense.default")
    for name in (*hidden, *kept):
        assert any(name in row.op for row in report.ops), name
    text, html = str(report), report._repr_html_()
    for shown in (text, html):
        assert not any(name in shown for name in hidden)
        assert all(name in shown for name in kept)


def test_a_write_to_the_hosts_memory_is_not_said_to_be_one_to_the_device(device):
    with device as session:
        torch.ones(40, 40).mul_(2)
    (said,) = {why(row) for row in session.report().ops if row.op == "aten.mul_.Tensor"}
    assert said == "what it writes to lies on the device, got a tensor of the host (others may see that memory)"


def test_totals_are_the_sums_of_the_rows(twice, rows_of):
    def program(session):
        x = session.to_device(X)
        twice(x, 3)
        (twice(x).t().contiguous() @ x).relu_().tolist()
        torch.nonzero(x)
        torch.ones(3) + 1
        with torch.inference_mode():
            torch.nn.functional.linear(x, x)

    report = rows_of(program)[1]
    for placement in ("device", "host", "local", "decomposed", "view"):
        assert getattr(report.totals, placement) == sum(r.count for r in report.ops if r.placement == placement)
    assert report.totals.calls == sum(row.count for row in report.ops)
    assert report.totals.host_float <= report.totals.host
    assert all(row.count > 0 for row in report.ops)
    assert all(row.condition for row in report.ops if row.placement == "host")


def test_small_inputs_of_the_host_are_local_and_nothing_is_wrong_with_them(twice, rows_of):
    block = ttreg.device_mode(device="emulated", min_upload_numel=13)
    large = torch.ones(13)

    def program(session):
        twice(X)
        twice(large)
        twice(session.to_device(X))

    rows, report = rows_of(program, block)
    assert rows["twice", "local"].count == 1
    assert rows["twice", "device"].count == 2
    assert report.totals.local == 1
    assert report.totals.host_float == 0


def test_what_refused_calls_met_is_kept_apart_up_to_a_number(twice, rows_of, monkeypatch):
    monkeypatch.setattr(ledger, "_KEPT_PLANS", 4)
    monkeypatch.setattr(ledger, "_KEPT_TALLIES", 8)
    kept = []

    def program(session):
        for times in range(3, 103):
            twice(X, times)
            kept.append(len(session.ledger._tallies))

    report = rows_of(program)[1]
    refused = {row.got: row.count for row in report.ops if row.condition == "times == 2"}
    assert max(kept) == 9
    assert sum(refused.values()) == 100
    assert refused["3"] == refused["102"] == 1
    assert refused["others"] > 80


@pytest.mark.parametrize("kind", ["of another precision", "pinned"])
def test_small_tensors_of_a_device_that_the_host_has_are_local(kind, twice):
    """The session cannot use their device values, and would have to upload what is not worth it."""
    narrow = "bfloat16" if kind == "of another precision" else "preserve"
    outer = ttreg.device_mode(device="emulated", precision=narrow)
    with outer as holding, ttreg.device_mode(device="emulated", min_upload_numel=13) as session:
        x = holding.to_device(X)
        if kind == "pinned":
            x.numpy()
        result = twice(x)
        assert [row.placement for row in session.report().ops if "twice" in row.op] == ["local"]
        assert session.report().transfers.uploads == 0
        assert result.tolist() == (X * 2).tolist()


def test_bytes_and_seconds_are_those_of_the_calls(twice, rows_of):
    def program(session):
        twice(session.to_device(X))
        twice(session.to_device(X.bfloat16()))

    row = rows_of(program)[0]["twice", "device"]
    assert row.bytes == 12 * 4 + 12 * 2
    assert row.seconds > 0


def test_transfers_count_what_crosses(twice, device):
    weight, plain = torch.nn.Parameter(X.clone()), X.clone()
    with device as session, torch.no_grad():
        twice(plain)
        twice(plain)
        twice(weight)
        result = twice(weight)
        result.tolist()
        result.tolist()
        moved = session.report().transfers
        del result
    assert (moved.uploads, moved.upload_bytes) == (1, 48)
    assert (moved.weight_uploads, moved.weight_upload_bytes) == (1, 48)
    assert (moved.downloads, moved.download_bytes) == (1, 48)


def test_a_call_on_the_host_between_two_on_the_device_says_what_it_moved(device):
    with device as session:
        sorted_ = torch.linalg.inv(session.to_device(torch.eye(4)) * 2)
        (sorted_ + 1).sum()
        (sorted_ + session.to_device(torch.eye(4))).sum()
        report = session.report()
    (row,) = (r for r in report.ops if r.op.startswith("aten.linalg_inv_ex"))
    assert (row.placement, row.bytes_down, row.bytes_up) == ("host", 64, 64)
    assert there_and_back(row) == " (64 B came down for it, 64 B went up again)"
    assert "came down for it" in str(report)
    assert report.transfers.upload_seconds > 0
    assert report.transfers.download_seconds > 0


def test_a_derived_overload_has_a_row_of_its_own(private_op, rows_of):
    op = private_op("shift(Tensor self) -> Tensor", lambda self: self + 1)
    in_place = private_op("shift_(Tensor(a!) self) -> Tensor(a!)", lambda self: self.add_(1))
    ttreg.lower(op, samples=list, takes=FLOATS)(lambda tt, self: tt.add(self, 1))

    def program(session):
        x = session.to_device(X)
        op(x)
        in_place(x)

    rows, _ = rows_of(program)
    assert rows["shift", "device"].count == rows["shift_", "device"].count == 1


def test_an_op_that_runs_on_the_host_by_its_entry_says_why(private_op, rows_of):
    op = private_op("guess(Tensor self) -> Tensor", lambda self: self.nonzero())
    ttreg.cpu_only(op, because="the output shape depends on the data", samples=list)
    rows, _ = rows_of(lambda session: op(session.to_device(X)))
    row = rows["guess", "host"]
    assert row.reason == "the output shape depends on the data"
    assert why(row) == "the output shape depends on the data"


def test_many_signatures_are_all_counted(twice, rows_of, monkeypatch):
    monkeypatch.setattr("ttreg.runtime.ledger._KEPT_PLANS", 5)

    def program(session):
        for _ in range(3):
            for size in range(1, 20):
                twice(torch.ones(size))

    rows, report = rows_of(program)
    assert rows["twice", "device"].count == 57
    assert report.totals.device >= 57


def test_an_op_that_raises_is_counted_once(twice, rows_of):
    def program(session):
        x = session.to_device(X)
        with pytest.raises(RuntimeError):
            torch.mm(x, x)

    _, report = rows_of(program)
    assert sum(row.count for row in report.ops if row.op == "aten.mm.default") == 1


def test_the_machine_form_has_the_fields_of_the_guide(twice, rows_of):
    _, report = rows_of(lambda session: twice(session.to_device(X), 3))
    data = json.loads(report.model_dump_json())
    assert set(data) == {"device", "ops", "transfers", "totals", "device_calls", "programs", "cost"}
    assert set(data["device"]) == {"name", "arch", "ttnn_version", "validated"}
    fields = {"op", "placement", "condition", "reason", "got", "count", "seconds", "bytes"}
    some = {"bytes_down", "bytes_up", "work"}  # of rows that have any
    assert all(fields <= set(row) <= fields | some for row in data["ops"])
    crossings = {"uploads", "weight_uploads", "downloads"}
    byte_counts = {"upload_bytes", "weight_upload_bytes", "download_bytes"}
    conversions = {"dtype_conversions", "layout_conversions"}
    seconds = {"upload_seconds", "download_seconds"}
    assert set(data["transfers"]) == crossings | byte_counts | conversions | seconds
    assert set(data["totals"]) == {"calls", "device", "host", "host_float", "local", "decomposed", "view"}
    assert Report.model_validate(data) == report


def test_the_device_is_named(device):
    with device as session:
        pass
    info = session.report().device
    assert (info.name, info.arch, info.validated) == ("emulated", "wormhole_b0", False)
    assert info.ttnn_version == "0.81.1"


def test_printing_tells_what_went_where_and_why(twice, rows_of):
    def program(session):
        x = session.to_device(X)
        twice(x)
        twice(x, 3)

    _, report = rows_of(program)
    text = str(report)
    assert "emulated wormhole_b0, ttnn 0.81.1" in text
    assert "1 on the device" in text
    assert "times == 2, got 3 (twice is twice)" in " ".join(text.split())
    assert "ttreg_tests.twice.default" in text
    assert text == str(report)


def test_a_narrow_terminal_breaks_names_and_cuts_nothing(device):
    with device as session:
        pass
    report = session.report()
    op, reason = "aten._a_name_that_is_longer_than_a_column_of_forty.default", "no [self] of many words"
    report.ops = [OpRow(op=op, placement="host", count=1, reason=reason, condition=str(Never()))]
    console = Console(width=40, file=io.StringIO())
    console.print(report)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.file.getvalue().splitlines()]
    rows = [row for row in rows if row]
    assert "".join(row[0] for row in rows) == op
    assert " ".join(row[-1] for row in rows if row[-1]) == reason


def test_an_empty_report_prints(device):
    with device as session:
        pass
    report = session.report()
    assert (report.totals.calls, report.ops) == (0, [])
    assert "0 calls" in str(report)


def test_a_report_does_not_change_afterwards(twice, device):
    with device as session:
        twice(X)
        report = session.report()
        before = report.model_copy(deep=True)
        twice(X)
    assert report == before


def test_conversions_on_the_device_are_counted(device):
    with device as session:
        x = session.to_device(X)
        before = session.report().transfers
        x.to(torch.bfloat16)
        after = session.report().transfers
    assert (before.dtype_conversions, after.dtype_conversions) == (0, 1)
    assert before.layout_conversions == after.layout_conversions == 0
