"""Traces: what a session did, when and why, in the trace-event format."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import tracemalloc
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, TypeAdapter

import ttreg
from ttreg import tracing
from ttreg.runtime.dispatch import Dispatcher
from ttreg.runtime.session import Session

X = torch.arange(12.0).reshape(3, 4) / 4


class Event(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    pid: PositiveInt
    args: dict[str, Any]


class Range(Event):
    """A complete event: times in microseconds."""

    ph: Literal["X"]
    name: str
    cat: Literal["device", "host", "local", "decomposed", "view", "transfer"]
    ts: NonNegativeFloat
    dur: NonNegativeFloat
    tid: PositiveInt

    @property
    def nanoseconds(self):
        return round(self.ts * 1000), round((self.ts + self.dur) * 1000)


class Named(Event):
    ph: Literal["M"]
    name: Literal["process_name", "thread_name", "thread_sort_index"]
    tid: int


EVENTS = TypeAdapter(list[Annotated[Range | Named, Field(discriminator="ph")]])


class Trace:
    """A trace that is as the format wants it, and in which nothing overlaps."""

    def __init__(self, path):
        self.events = EVENTS.validate_json(path.read_bytes())
        self.ranges = [event for event in self.events if isinstance(event, Range)]
        self.lanes = {e.tid: e.args["name"] for e in self.events if e.name == "thread_name"}
        assert {event.tid for event in self.ranges} <= self.lanes.keys()
        for lane in self.lanes:
            self._check_nested(
                sorted((e.nanoseconds for e in self.ranges if e.tid == lane), key=lambda t: (t[0], -t[1]))
            )

    def _check_nested(self, spans):
        around = []
        for start, end in spans:
            while around and around[-1] <= start:
                around.pop()
            assert not around or end <= around[-1]
            around.append(end)

    def named(self, name):
        return [event for event in self.ranges if event.name == name]

    def in_lanes(self):
        found = defaultdict(Counter)
        for event in self.ranges:
            found[self.lanes[event.tid]][event.name] += 1
        return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "t.json"


@pytest.fixture
def traced(path):
    return lambda **keywords: ttreg.device_mode(
        **({"device": "emulated", "min_upload_numel": 0, "trace": path} | keywords)
    )


def test_deciding_is_told_from_running(traced):
    with traced() as session, torch.no_grad():
        x = session.to_device(X)
        assert session.report().trace.dispatch_seconds == 0
        x.relu()
        first = session.report().trace.dispatch_seconds
        x.relu()
    assert 0 < first < session.report().trace.dispatch_seconds


def test_each_call_and_transfer_of_the_report_is_an_event(traced, path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    with traced() as session, torch.no_grad():
        y = model(X)
        torch.special.bessel_j0(y.t())
        torch.ops.aten.rot90.default(y)
        torch.neg(X.to_sparse())
        y.tolist()
    trace, report = Trace(path), session.report()
    assert {row.placement for row in report.ops} == {"device", "host", "view", "decomposed"}
    counted = Counter({(row.op, row.placement): 0 for row in report.ops})
    for row in report.ops:
        counted[row.op, row.placement] += row.count
    assert Counter((e.name, e.cat) for e in trace.ranges if e.name == e.args.get("op")) == counted
    moved = Counter(event.name for event in trace.ranges if event.cat == "transfer")
    moves = report.transfers
    assert moved == {
        "upload": moves.uploads,
        "upload of a weight": moves.weight_uploads,
        "download": moves.downloads,
    }
    assert sum(e.args["bytes"] for e in trace.named("upload of a weight")) == moves.weight_upload_bytes
    assert sum(e.args["bytes"] for e in trace.named("download")) == moves.download_bytes


@pytest.mark.parametrize("repeats", [1, 20])
def test_events_have_what_the_device_had_to_do_in_them(traced, path, repeats):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.Softmax(-1))
    with traced() as session, torch.no_grad():
        for _ in range(repeats):
            (model(X).t() + 1).tolist()
    calls, moved, bound, end = Counter(), 0, 0, 0
    for event in sorted(Trace(path).ranges, key=lambda event: (event.ts, -event.dur)):
        if event.ts >= end:  # what lies in another event is counted there
            calls.update(event.args.get("device_calls", {}))
            moved += event.args.get("bytes_read", 0) + event.args.get("bytes_written", 0)
            bound += event.args.get("bound_microseconds", 0)
            end = event.ts + event.dur
    report = session.report()
    assert calls == {name: n for name, n in report.device_calls.items() if name not in ("from_torch", "to_torch")}
    assert calls["linear"] == repeats
    assert moved == report.cost.total.bytes_moved
    assert bound == pytest.approx(report.cost.total.bound_seconds * 1e6, rel=1e-2)


def test_events_are_in_the_lane_of_their_kind_with_arguments_and_reason(traced, path):
    with traced():
        torch.special.bessel_j0(torch.relu(X).t())
    trace = Trace(path)
    lanes = trace.in_lanes()
    assert list(trace.lanes.values()) == ["device ops", "host ops", "decomposed ops", "views", "transfers"]
    assert lanes["device ops"]["aten.relu.default"] == 1
    assert lanes["host ops"]["aten.special_bessel_j0.default"] == 1
    assert lanes["views"] == {"aten.t.default": 1}
    assert lanes["transfers"] == {"upload": 1, "download": 1}
    (relu,), (bessel,) = trace.named("aten.relu.default"), trace.named("aten.special_bessel_j0.default")
    assert relu.args.pop("bound_microseconds") > 0
    moved = {"tensor": "float32[3, 4]", "bytes": 48}
    one_tile = {"bytes_read": 4096, "bytes_written": 4096, "bytes_unpadded": 2 * X.nbytes, "flops": 0}
    said = {"op": "aten.relu.default", "arguments": {"self": "float32[3, 4]"}, "result": "float32[3, 4]"}
    memory = {"memory_before": 0, "memory_after": 8192}
    line = relu.args.pop("line")
    assert relu.args == said | {"device_calls": {"relu": 1}} | one_tile | memory
    assert line.startswith(f"{__file__}:")
    assert bessel.args["arguments"] == {"self": "float32[4, 3]"}
    assert bessel.args["condition"] == "no entry"
    assert bessel.args["reason"] == "the registry does not have this op"
    (up,), (down,) = trace.named("upload"), trace.named("download")
    assert up.args == {"memory_before": 0, "memory_after": 0, "line": line, "as": "float32"} | moved
    assert {name: down.args[name] for name in moved} == moved


def test_the_parts_of_a_decomposed_op_lie_in_its_range(traced, path):
    with traced() as session:
        torch.ops.aten.rot90.default(session.to_device(X))
    trace = Trace(path)
    (whole,) = trace.named("aten.rot90.default")
    start, end = whole.nanoseconds
    parts = [event for event in trace.ranges if event is not whole and event.cat in ("device", "view")]
    inside = [e for e in parts if start <= e.nanoseconds[0] and e.nanoseconds[1] <= end]
    assert inside
    assert "aten.flip.default" in {event.name for event in inside}


def test_a_view_is_taken_on_the_device_when_its_data_is_needed(traced, path):
    with traced() as session:
        session.to_device(X).t().relu()
    lanes = Trace(path).in_lanes()
    assert lanes["views"] == {"aten.t.default": 1}
    assert lanes["device ops"] == {"aten.relu.default": 1, "aten.t.default, when its data is needed": 1}


def test_a_call_that_turns_out_to_be_the_hosts_is_in_its_lane(traced, path):
    with traced(), pytest.raises(IndexError):
        torch.embedding(torch.rand(4, 32), torch.tensor([[9]]))
    (event,) = Trace(path).named("aten.embedding.default")
    assert event.cat == "host"
    assert event.args["raised"] == "IndexError"
    assert event.args["condition"] == "indices within bounds"


def test_the_trace_is_whole_after_an_exception_and_at_any_time_before(traced, path):
    def program():
        with traced():
            torch.relu(X)
            assert Trace(path).named("aten.relu.default")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        program()
    assert Trace(path).named("aten.relu.default")


def test_the_trace_is_whole_after_a_crash(traced, path):
    def program():
        with traced():
            torch.relu(X)
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=program)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert Trace(path).named("aten.relu.default")


def test_another_thread_has_lanes_of_its_own(traced, path):
    with traced() as session:
        a = session.to_device(X)
        reader = threading.Thread(target=a.tolist, name="reader")
        reader.start()
        reader.join()
    lanes = Trace(path).in_lanes()
    assert lanes["transfers"] == {"upload": 1}
    assert lanes["transfers (reader)"] == {"download": 1}


def test_lanes_are_forgotten_with_their_threads(traced, path):
    ours = tracemalloc.Filter(True, str(Path(tracing.__file__).with_name("*")))
    sizes = []
    with traced() as session, contextlib.ExitStack() as stack:
        a = session.to_device(X)
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for number in range(60):
            reader = threading.Thread(target=(a + 1).tolist, name=f"reader {number}")
            reader.start()
            reader.join()
            if number % 20 == 19:
                gc.collect()
                found = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
                sizes.append(sum(of_file.size for of_file in found))
    assert len([lane for lane in Trace(path).in_lanes() if "reader" in lane]) == 60
    assert sizes[2] < sizes[1] + 200, sizes


def test_a_block_that_two_threads_share_has_lanes_for_each(traced, path):
    block = traced()

    def work():
        with block:
            torch.relu(X)

    with block:
        worker = threading.Thread(target=work, name="worker")
        worker.start()
        worker.join()
        torch.relu(X)
    lanes = Trace(path).in_lanes()
    assert lanes["device ops (worker)"] == {"aten.relu.default": 1}
    assert lanes["device ops"] == {"aten.relu.default": 1}


def test_sessions_of_a_process_share_a_file_of_one_name(traced, path):
    block = traced()
    for _ in range(2):
        with block as first:
            torch.relu(X)
    with traced() as second:
        torch.sigmoid(X)
    trace = Trace(path)
    assert [event.pid for event in trace.named("aten.relu.default")] == [1, 1]
    assert [event.pid for event in trace.named("aten.sigmoid.default")] == [2]
    assert first.report().trace.process == 1
    assert (second.report().trace.file, second.report().trace.process) == (str(path), 2)
    assert f"trace in {path}, process 2" in "".join(str(second.report()).split("\n"))


def test_a_file_that_was_removed_is_begun_anew(traced, path):
    with traced():
        torch.relu(X)
    path.unlink()
    with traced():
        torch.sigmoid(X)
    assert {event.name for event in Trace(path).ranges if event.cat == "device"} == {"aten.sigmoid.default"}


def test_a_file_that_another_program_replaced_is_left_alone(traced, path, caplog):
    block = traced()
    with block:
        torch.relu(X)
    path.write_text("mine")
    with block:
        assert torch.relu(X).tolist() == torch.relu(X.clone()).tolist()
    assert path.read_text() == "mine"
    assert "no longer the file that was begun" in caplog.text


def test_a_forked_process_writes_nothing(traced, path):
    with traced():
        torch.relu(X)
        process = multiprocessing.get_context("fork").Process(target=lambda: torch.sigmoid(X))
        process.start()
        process.join()
        assert process.exitcode == 0
    assert {event.name for event in Trace(path).ranges if event.cat == "device"} == {"aten.relu.default"}


def test_without_a_trace_nothing_takes_part_in_it(device):
    with device as session:
        assert type(session) is Session
        assert session.report().trace is None
        mode = torch.utils._python_dispatch._get_current_dispatch_mode()
        assert type(mode._dispatcher) is Dispatcher


def test_compiled_models_are_traced(path):
    options = {"device": "emulated", "min_upload_numel": 0, "trace": str(path)}
    compiled = torch.compile(lambda x: torch.relu(x) + 1, backend="ttreg", options=options)
    compiled(X)
    torch._dynamo.reset()
    assert {"aten.relu.default", "aten.add.Tensor"} <= {event.name for event in Trace(path).ranges}


def test_signposts_tell_a_profiler_which_modules_calls_come_next(path, monkeypatch):
    import ttnn

    told = []
    monkeypatch.setattr(ttnn, "tracy_message", told.append)
    body = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.ReLU())
    with ttreg.device_mode(device="mock", trace=path), torch.no_grad():
        x = body(torch.rand(32, 32))
        x.neg().cpu()
    headers = [message.strip("`").removeprefix("TT_SIGNPOST: ").splitlines() for message in told]
    assert all(__file__ in line for _, line in headers)
    assert [header for header, _ in headers[:2]] == ["0", "1"]
    assert headers[2][0].startswith(__file__), "what follows the model is in no module, but in a line"
