"""What the device had to do: ttnn calls, bytes, products, programs and memory, and the bound on its time."""

from __future__ import annotations

import threading
from collections import Counter
from functools import wraps
from types import SimpleNamespace

import pytest
import torch
import ttnn

import ttreg
from ttreg.costs.boards import BOARDS
from ttreg.costs.calls import Operand, device_call
from ttreg.costs.programs import Programs
from ttreg.costs.recorder import CountedApi, Recorder
from ttreg.costs.traffic import stays
from ttreg.costs.work import Work
from ttreg.coverage.measure import cover
from ttreg.devices import open_device
from ttreg.report import Report
from ttreg.reporting.difference import difference
from ttreg.reporting.page import page
from ttreg.settings import Settings

X = torch.arange(64.0 * 64).reshape(64, 64) / 4096


def value(*shape, dtype="float32", layout="TILE"):
    return SimpleNamespace(shape=shape, dtype=f"DataType.{dtype.upper()}", layout=f"Layout.{layout}")


@pytest.fixture
def on_chip(monkeypatch):
    """Opens a block on the mocked chip, and counts the calls that ttnn gets: those of ttreg, not ttnn's own."""
    seen: Counter[str] = Counter()
    inside = threading.local()
    chip = open_device(Settings(device="mock"))

    def watched(name, function):
        @wraps(function)  # with its golden function, which other sessions may look for meanwhile
        def call(*args, **kwargs):
            if getattr(inside, "ttnn", False):
                return function(*args, **kwargs)
            inside.ttnn = True
            try:
                seen[name] += 1
                return function(*args, **kwargs)
            finally:
                inside.ttnn = False

        return call

    for name, function in list(vars(ttnn).items()):
        if callable(function) and not isinstance(function, type) and not name.startswith("_"):
            monkeypatch.setattr(ttnn, name, watched(name, function))
    for module in (ttnn.transformer, ttnn.experimental):
        for name, function in list(vars(module).items()):
            if callable(function) and not isinstance(function, type) and not name.startswith("_"):
                whole = f"{module.__name__.removeprefix('ttnn.')}.{name}"
                monkeypatch.setattr(module, name, watched(whole, function))
    monkeypatch.setattr(chip, "tt", type(chip.tt)(chip.tt.device))  # it keeps the functions that it has found

    def block(**settings):
        return ttreg.device_mode(device="mock", min_upload_numel=0, **settings)

    block.seen, block.chip = seen, chip
    return block


class Net(torch.nn.Module):
    """Products, a convolution, norms, attention, an embedding, views and an index of which lowerings make several."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(40, 64)
        self.conv = torch.nn.Conv1d(64, 64, 3, padding=1)
        self.norm = torch.nn.LayerNorm(64)
        self.qkv = torch.nn.Linear(64, 192)
        self.out = torch.nn.Linear(64, 8)

    def forward(self, tokens):
        x = self.table(tokens)
        x = x + self.conv(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = (part.unflatten(-1, (2, 32)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        x = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.out(torch.relu(x)).softmax(-1)[:, -1].argmax(-1)


TOKENS = torch.arange(2 * 48).reshape(2, 48) % 40


@pytest.mark.parametrize("settings", [{}, {"float32": "exact"}, {"precision": "bfloat16"}], ids=str)
def test_device_calls_are_those_that_the_chip_gets(on_chip, settings):
    torch.manual_seed(0)
    net = Net()
    with on_chip(**settings) as session, torch.no_grad():
        net(TOKENS).tolist()
        before = Counter(session.report().device_calls)
        on_chip.seen.clear()
        for _ in range(20):  # more than those that are looked at
            net(TOKENS).tolist()
        seen = on_chip.seen.copy()
    assert Counter(session.report().device_calls) - before == seen
    assert session.report().cost.total.unseen == 0


def test_calls_of_two_threads_are_all_counted(on_chip):
    torch.manual_seed(0)
    net, mode = Net(), on_chip()
    with mode as session:
        before, on_chip.seen_before = Counter(session.report().device_calls), on_chip.seen.copy()

        def run():
            with mode, torch.no_grad():
                for _ in range(6):
                    net(TOKENS).tolist()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert Counter(session.report().device_calls) - before == on_chip.seen - on_chip.seen_before


def test_a_nested_block_counts_its_own_calls(on_chip):
    with on_chip() as outer:
        x = X * 2
        with on_chip(precision="bfloat16") as inner:
            (X.abs() + 1).sum().item()
        y = x * 3
        before = Counter(outer.report().device_calls)
        assert before["multiply"] == 2
    assert y.shape == X.shape
    assert not {"abs", "sum"} & set(before)
    assert "multiply" not in inner.report().device_calls
    assert inner.report().device_calls["abs"] == 1


def test_bytes_are_those_of_whole_tiles_and_aligned_rows():
    assert Operand((5, 7), "float32").held == 32 * 32 * 4
    assert Operand((3, 33, 65), "bfloat16").held == 3 * 64 * 96 * 2
    assert Operand((7,), "bfloat16").held == 32 * 32 * 2
    assert Operand((), "float32").held == 32 * 32 * 4
    assert Operand((3, 5), "float32", row_major=True).held == 3 * 32
    assert Operand((3, 5), "uint8", row_major=True).held == 3 * 32
    assert Operand((64, 64), "bfloat8_b").held == 64 * 64 + 64 * 64 // 16
    assert Operand((64, 64), "bfloat4_b").held == 64 * 64 // 2 + 64 * 64 // 16
    assert Operand((5, 7), "bfloat16").logical == 70


TILE = 32 * 32 * 4


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "result", "read", "written"),
    [
        ("add", [value(33, 5), value(1, 5)], {}, value(33, 5), 3 * TILE, 2 * TILE),
        ("add", [value(33, 5), 2.0], {}, value(33, 5), 2 * TILE, 2 * TILE),
        ("concat", [[value(32, 32), value(32, 32)], 0], {}, value(64, 32), 2 * TILE, 2 * TILE),
        ("slice", [value(320, 32), [0, 0], [5, 32]], {}, value(5, 32), TILE, TILE),
        ("permute", [value(32, 64), [1, 0]], {}, value(64, 32), 2 * TILE, 2 * TILE),
        ("permute", [value(32, 64), [0, 1]], {}, value(32, 64), 0, 0),
        ("reshape", [value(64, 32), [2, 32, 32]], {}, value(2, 32, 32), 0, 0),
        ("reshape", [value(7, 32), [1, 7, 32]], {}, value(1, 7, 32), 0, 0),
        ("reshape", [value(4, 16, 32), [64, 32]], {}, value(64, 32), 4 * TILE, 2 * TILE),
        ("full_like", [value(32, 32), 1.0], {}, value(32, 32), 0, TILE),
        ("transformer.concatenate_heads", [value(1, 2, 32, 32)], {}, value(1, 32, 64), 2 * TILE, 2 * TILE),
        (
            "embedding",
            [value(1, 8, dtype="uint32", layout="ROW_MAJOR"), value(5000, 32, layout="ROW_MAJOR")],
            {},
            value(1, 8, 32),
            32 + TILE,
            TILE,
        ),
    ],
)
def test_bytes_of_calls_by_hand(name, args, kwargs, result, read, written):
    call = device_call(name, tuple(args), kwargs, result)
    assert (call.read, call.written, call.flops) == (read, written, 0)


def test_products_by_hand():
    hifi4 = SimpleNamespace(math_fidelity="MathFidelity.HiFi4")
    a, b, out = value(2, 40, 64), value(64, 96), value(2, 40, 96)
    call = device_call("linear", (a, b), {"bias": value(1, 96), "compute_kernel_config": hifi4}, out)
    assert (call.flops, call.fidelity) == (2 * 2 * 64 * 64 * 96, "HiFi4")
    assert device_call("matmul", (value(64, 40), value(64, 96)), {"transpose_a": True}, value(40, 96)).flops == (
        2 * 64 * 64 * 96
    )
    assert device_call("matmul", (a, b), {}, out).fidelity == "LoFi"  # which gives the lowest bound
    sizes = {"in_channels": 16, "out_channels": 32, "kernel_size": (3, 3), "groups": 2}
    tensors = {"input_tensor": value(1, 10, 10, 16), "weight_tensor": value(32, 8, 3, 3)}
    made = [value(1, 1, 64, 32), [value(1)]]
    call = device_call("conv2d", (), tensors | sizes | {"compute_config": hifi4}, made[0])
    assert call.flops == 2 * 64 * 32 * 9 * 8
    assert call.read == 4 * (10 * 32 * 32 + 32 * 8 * 9)  # the image in tiles, and the kernel as the matrix it is made
    q = value(1, 2, 64, 32)
    assert device_call("transformer.scaled_dot_product_attention", (q, q, q), {"is_causal": False}, q).flops == (
        4 * 2 * 64 * 64 * 32
    )
    vector = value(40)
    assert device_call("matmul", (vector, vector), {}, value()).flops == 2 * 32 * 64 * 32
    assert device_call("matmul", (value(7, 40), vector), {}, value(7)).flops == 2 * 32 * 64 * 32


def test_the_bound_is_the_longer_of_the_two_times():
    n150, p150 = BOARDS["wormhole_b0"], BOARDS["blackhole"]
    assert n150.flops("HiFi4") == pytest.approx(74e12, rel=0.01)  # as the board's page says of FP16
    few = device_call("add", (value(1024, 1024), value(1024, 1024)), {}, value(1024, 1024))
    assert few.seconds["wormhole_b0"] == 3 * 2**22 / 288e9
    assert few.seconds["blackhole"] == 3 * 2**22 / 512e9
    config = SimpleNamespace(math_fidelity="MathFidelity.HiFi4")
    tensors = (value(4096, 4096), value(4096, 4096))
    many = device_call("matmul", tensors, {"compute_kernel_config": config}, value(4096, 4096))
    assert many.seconds["wormhole_b0"] == 2 * 4096**3 / n150.flops("HiFi4")
    assert many.seconds["blackhole"] == 2 * 4096**3 / p150.flops("HiFi4")


SHAPES = [
    ((64, 64), (1, 64, 64)),
    ((4, 16, 64), (64, 64)),
    ((4, 32, 64), (128, 64)),
    ((1, 16, 64), (16, 64)),
    ((8, 16), (128, 1)),
    ((2, 3, 8, 8), (2, 3, 64)),
    ((7, 64), (1, 1, 7, 64)),
    ((64,), (1, 64)),
    ((2, 64), (2, 1, 64)),
    ((5,), (1, 1, 1, 5)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_a_reshape_moves_where_ttnn_moves(on_chip, shapes):
    before = on_chip.chip.upload(torch.rand(shapes[0]), "float32")
    after = ttnn.reshape(before, shapes[1])
    moved = before.buffer_address() != after.buffer_address()
    assert stays(*(Operand(shape, "float32") for shape in shapes)) is not moved


@pytest.mark.parametrize("device", ["mock", "emulated"])
def test_a_growing_sequence_makes_programs_and_says_where(device):
    with ttreg.device_mode(device=device, min_upload_numel=0) as session, torch.no_grad():
        count = session.recorder.programs.count
        before = count()
        grown, step = torch.ones(1, 65, 19), torch.ones(1, 1, 19)  # shapes that no other test has
        for _ in range(4):
            grown = torch.cat([grown, step], 1)
        grown = grown * 2
        new = count() - before
        first = session.report().programs
        (torch.ones(1, 69, 19) * 2).sum()
        second = session.report().programs
    assert first.estimated is (device == "emulated")
    if device == "mock":
        assert first.new == new >= 4
    made = [row for row in first.made_by if row.op == "aten.cat.default"]
    assert sum(row.count for row in made) >= 4
    assert {row.line.rpartition(":")[0] for row in made} == {__file__}
    assert any("f32[1, 65, 19]" in row.operands for row in made)
    products = [[row for row in programs.made_by if row.op == "aten.mul.Tensor"] for programs in (first, second)]
    assert products[0] == products[1]


def test_what_is_made_once_is_not_counted_at_every_call():
    recorder = Recorder(Programs(), lambda: 0)
    plain = recorder.counted("exp", lambda x: value(32, 32))
    prepare = recorder.counted("permute", lambda x, order: value(32, 32))
    unit, kept = Work("op"), []

    def lowering():
        if not kept:
            kept.append(prepare(value(32, 32), [1, 0]))
        return plain(kept[0])

    for _ in range(40):
        recorder.run(unit, lowering)
    amount = unit.amount()
    assert amount.names == {"permute": 1, "exp": 40}
    assert (amount.read, amount.written, amount.unseen) == (41 * TILE, 41 * TILE, 0)
    assert recorder.new_programs.total == 2


def test_a_sequence_of_calls_that_was_never_looked_at_is_said_to_be():
    recorder, unit = Recorder(Programs(), lambda: 0), Work("op")
    plain, rare = (recorder.counted(name, lambda x: value(32, 32)) for name in ("exp", "log"))
    for step in range(10):
        recorder.run(unit, rare if step == 6 else plain, value(32, 32))
    assert unit.amount().names == {"exp": 9, "log": 1}
    assert unit.amount().unseen == 1
    recorder.run(unit, rare, value(32, 32))
    assert unit.looks is False


def test_calls_outside_of_what_a_session_does_in_one_go_are_counted_too():
    recorder = Recorder(Programs(), lambda: 0)
    plain = recorder.counted("exp", lambda x: value(32, 32))
    plain(value(32, 32))
    assert recorder.amounts()["elsewhere"].names == {"exp": 1}
    recorder.run(Work("op"), plain, value(32, 32))
    plain(value(32, 32))
    elsewhere = recorder.amounts()["elsewhere"]
    assert (elsewhere.names, elsewhere.read) == ({"exp": 2}, 2 * TILE)


def test_a_call_that_ttnn_refuses_is_not_the_devices(device):
    def refused(x):
        raise RuntimeError("no")

    recorder, unit = Recorder(Programs(), lambda: 0), Work("op")
    with pytest.raises(RuntimeError):
        recorder.run(unit, recorder.counted("exp", refused), value(32, 32))
    assert unit.amount().calls == 0
    assert recorder.names == []


def test_memory_at_its_peak_is_that_of_what_the_session_holds_and_a_call_makes():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        a = torch.ones(256, 256) + 1
        kept = [a * n for n in range(2, 6)]
        torch.softmax(a, -1)
        memory = session.report().cost.memory
        del kept, a
        torch.ones(64, 64) + 1
        after = session.report().cost.memory
    one = 256 * 256 * 4
    assert memory.op == "aten._softmax.default"
    assert memory.peak_bytes >= 6 * one  # an upload, a sum, four products; and what softmax makes
    assert memory.peak_bytes <= 12 * one
    assert after == memory


def test_the_report_has_it_in_both_forms(device):
    with device as session, torch.no_grad():
        (X @ X).relu()
        X.t().contiguous() @ X
    report = session.report()
    row = next(row for row in report.ops if row.op == "aten.matmul.default")
    assert row.work is not None
    assert (row.work.calls, row.work.flops) == (report.device_calls["matmul"], 2 * 2 * 64**3)
    assert report.cost.board == "N150"
    assert 0 < row.work.bound_seconds < report.cost.total.bound_seconds
    by_op = sum(row.work.calls for row in report.ops if row.work)
    besides = sum(work.calls for work in report.cost.besides.values())
    transfers = report.device_calls["from_torch"] + report.device_calls.get("to_torch", 0)
    assert by_op + besides + transfers == sum(report.device_calls.values())
    assert Report.model_validate_json(report.model_dump_json()) == report
    text = str(report)
    assert "not a prediction" in text
    assert "on N150" in text
    assert max(map(len, text.splitlines())) <= 120


def test_blackhole_has_a_bound_of_its_own():
    found = {}
    for arch in BOARDS:
        with ttreg.device_mode(device="emulated", arch=arch, min_upload_numel=0) as session:
            X + 1
        cost = session.report().cost
        found[cost.board] = cost.total.bound_seconds
    assert found["P150"] == pytest.approx(found["N150"] * 288 / 512)


def test_a_report_of_an_older_version_is_shown():
    device = {"name": "emulated", "arch": "wormhole_b0", "ttnn_version": "0.81.1", "validated": False}
    old = Report.model_validate({"device": device, "ops": [], "transfers": {}, "totals": {}})
    assert old.cost is None
    assert "device time" not in str(old)


def test_coverage_says_what_a_real_run_says():
    model = torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.GELU(), torch.nn.LayerNorm(96), torch.nn.Softmax(-1))
    x = torch.rand(2, 40, 64)

    def program():
        with torch.no_grad():
            model(x)
            model(x).transpose(1, 2).contiguous() + 1

    def runs(block):
        with block:
            program()
        return ""

    made = cover("a model", runs, Settings(min_upload_numel=0), cost=True)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        program()
        report = session.report()
    transfers = {"from_torch", "to_torch"}
    assert made.device_calls == {name: n for name, n in report.device_calls.items() if name not in transfers}
    assert made.cost.total == report.cost.total.model_copy(update={"peak_bytes": 0})
    assert made.programs.new == report.programs.new
    assert {row.op: row.work.calls for row in made.ops if row.work} == {
        row.op: row.work.calls for row in report.ops if row.work
    }
    assert made.cost_unknown == []
    plain = cover("a model", runs, Settings(min_upload_numel=0))
    assert (plain.cost, plain.device_calls) == (None, None)


def test_more_for_the_device_to_do_is_worse():
    def report(times):
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            for n in range(times):
                torch.ones(64, 64 + 32 * n) * 2
        return session.report()

    few, many = report(2), report(4)
    kinds = {change.subject: change.kind for change in difference(few, many).changes}
    wanted = {"ttnn calls", "new programs", "bytes moved on the device"}
    assert {kinds.get(subject) for subject in wanted} == {"regression"}
    back = {change.subject: change.kind for change in difference(many, few).changes}
    assert {back.get(subject) for subject in wanted} == {"improvement"}
    assert not wanted & {change.subject for change in difference(few, report(2)).changes}


def test_the_page_shows_it(device):
    with device as session:
        X @ X
    words = page(session.report(), "a report")
    for said in ("ttnn calls", "1 new programs, estimated", "on N150", "matmul(f32[64, 64], f32[64, 64])", __file__):
        assert said in words


class Meta310(type):
    """As CPython 3.10's class of enumerations, which finds their members by `__getattr__`."""

    def __getattr__(cls, name):
        if name == "HiFi4":
            return cls()
        raise AttributeError(name)


class Fidelity(metaclass=Meta310):
    pass


def test_enumerations_are_ttnns_own_and_only_calls_are_counted():
    counted = CountedApi(
        SimpleNamespace(Fidelity=Fidelity, LAYOUT=Fidelity.HiFi4, relu=abs), Recorder(Programs(), lambda: 0)
    )
    assert counted.Fidelity is Fidelity
    assert isinstance(counted.Fidelity.HiFi4, Fidelity)
    assert isinstance(counted.LAYOUT, Fidelity)
    assert counted.relu(-1) == 1
