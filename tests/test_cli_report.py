"""`ttreg report`: one saved report, and the difference of two."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.report import DeviceInfo, OpRow, Report, Shown, Totals, Transfers
from ttreg.reporting.difference import difference

X = torch.rand(40, 40)


def row(op, placement="device", count=1, **changes):
    return OpRow(op=op, placement=placement, count=count, **changes)


def made(*rows, float_on_host=True, **transfers):
    """A report of these rows."""
    counts = dict.fromkeys(("device", "host", "local", "decomposed", "view"), 0)
    for each in rows:
        counts[each.placement] += each.count
    totals = Totals(calls=sum(counts.values()), host_float=counts["host"] if float_on_host else 0, **counts)
    info = DeviceInfo(name="emulated", arch="wormhole_b0", ttnn_version="0.81.1", validated=False)
    return Report(device=info, ops=list(rows), transfers=Transfers(**transfers), totals=totals)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Writes reports to files of the working directory."""
    monkeypatch.chdir(tmp_path)

    def save(**reports):
        for name, report in reports.items():
            (tmp_path / f"{name}.json").write_text(report.model_dump_json(indent=1) + "\n")

    return save


@pytest.fixture
def report():
    return lambda *arguments: CliRunner().invoke(cli.app, ["report", *arguments])


def test_a_real_report_is_shown_as_it_was_printed(saved, report):
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        torch.relu(X).sum().item()
        torch.special.bessel_j0(X)
    saved(a=session.report())
    done = report("a.json")
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines()[:4]] == [
        line.split() for line in str(session.report()).splitlines()[:4]
    ]
    assert "the registry does not have this op" in done.stdout
    shown = Shown.model_validate_json(report("a.json", "--json").stdout)
    assert shown == Shown(report=session.report())


def test_what_is_worse_comes_first(saved, report):
    before = made(row("aten.a.x", count=4), row("aten.b.x", "host"), row("aten.c.x"), row("aten.e.x"), downloads=1)
    after = made(
        row("aten.a.x", count=3),
        row("aten.a.x", "host", condition="x == 2", got="3", reason="it is odd"),
        row("aten.b.x"),
        row("aten.d.x"),
        row("aten.e.x", "local"),
        downloads=3,
        download_bytes=2048,
    )
    saved(before=before, after=after)
    done = report("before.json", "after.json")
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    starts = [line.partition(" ")[0] for line in lines if line]
    assert [s for s in starts if s.startswith("aten")] == ["aten.a.x", "aten.b.x", "aten.e.x", "aten.d.x", "aten.c.x"]
    order = [starts.index(s) for s in ("worse", "downloads", "better", "elsewhere,", "new", "gone")]
    assert order == sorted(order)
    assert "aten.a.x 4 device 3 device, 1 host x == 2, got 3 (it is odd)" in lines
    assert "downloads 1 (0 B) 3 (2.0 KiB)" in lines
    assert "0 ops run where they ran before" in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (made(row("aten.a.x")), made(row("aten.a.x", count=5)), {}),
        (made(row("aten.a.x", seconds=1.0)), made(row("aten.a.x", seconds=2.0)), {}),
        (made(row("aten.a.x", "host", got="2")), made(row("aten.a.x", "host", got="3")), {}),
        (
            made(row("aten.a.x")),
            made(row("aten.a.x", "host")),
            {"aten.a.x": "regression", "floating-point calls on the device": "regression"},
        ),
        (
            made(row("aten.a.x", "host"), float_on_host=False),
            made(row("aten.a.x"), float_on_host=False),
            {"aten.a.x": "improvement"},
        ),
        (
            made(row("aten.a.x")),
            made(row("aten.a.x", "decomposed"), row("aten.b.x")),
            {"aten.a.x": "moved", "aten.b.x": "new"},
        ),
        (made(uploads=2, upload_bytes=8), made(uploads=2, upload_bytes=4), {"uploads": "improvement"}),
        (made(uploads=2, upload_bytes=8), made(uploads=1, upload_bytes=9), {"uploads": "regression"}),
        (made(weight_uploads=2), made(weight_uploads=3), {"uploads of weights": "regression"}),
        (made(dtype_conversions=2), made(dtype_conversions=1), {"conversions of dtype": "improvement"}),
        (made(), made(), {}),
    ],
)  # fmt: skip
def test_kinds_of_change(before, after, kinds):
    found = difference(before, after)
    assert {change.subject: change.kind for change in found.changes} == kinds
    back = {"regression": "improvement", "improvement": "regression", "new": "gone", "moved": "moved"}
    turned = {change.subject: change.kind for change in difference(after, before).changes}
    if kinds != {"uploads": "regression"}:  # of fewer but larger ones, either is worse in a way
        assert turned == {subject: back[kind] for subject, kind in kinds.items()}
    ops = {each.op for each in (*before.ops, *after.ops)}
    assert found.unchanged == len(ops - kinds.keys())


def test_a_small_fall_of_a_large_share_is_seen(saved, report):
    saved(a=made(row("aten.a.x", count=99999), row("aten.b.x", "host")))
    saved(b=made(row("aten.a.x", count=89999), row("aten.b.x", "host")))
    done = report("a.json", "b.json", "--fail-on-regression")
    assert done.exit_code == 1
    assert "99.9990%" in done.stdout
    assert "99.9989%" in done.stdout


def test_fail_on_regression_is_an_exit_code(saved, report):
    saved(good=made(row("aten.a.x")), bad=made(row("aten.a.x", "host")))
    assert report("good.json", "bad.json").exit_code == 0
    assert report("good.json", "bad.json", "--fail-on-regression").exit_code == 1
    assert report("bad.json", "good.json", "--fail-on-regression").exit_code == 0
    assert report("good.json", "good.json", "--fail-on-regression", "--html", "p.html").exit_code == 0
    done = report("good.json", "--fail-on-regression")
    assert done.exit_code == 2
    assert "it needs a second report" in done.stderr


def test_the_difference_as_json(saved, report):
    saved(a=made(row("aten.a.x")), b=made(row("aten.a.x", "host")))
    shown = Shown.model_validate_json(report("a.json", "b.json", "--json").stdout)
    assert shown.difference == difference(shown.before, shown.report)
    assert shown.before.totals.device == shown.report.totals.host == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a.json cannot be read: No such file"),
        (b"", "a.json is no JSON (Expecting value"),
        (b"{", "a.json is no JSON"),
        (b'{"a":' * 99999, "a.json is no JSON"),
        (b"\xff\xfe\x00", "a.json is no JSON"),
        (b"[]", "a.json is no report, but an array; expected what `ttreg run --report`"),
        (b"3", "a.json is no report, but 3;"),
        (b"{}", "a.json is no report, but an object with nothing in it;"),
        (b'{"name": "x", "version": 1}', "a.json is no report, but an object with 'name', 'version';"),
        (b'[{"ph": "X"}]', "a.json is a trace, which Perfetto opens, and no report"),
        (b'{"ops": []}', "not a report as this version of ttreg writes it (device: Field required; transfers:"),
        (b'{"ops": [{"op": 3}]}', "ops.0.placement: Field required and 2 more); run the program again"),
    ],
)
def test_a_file_that_is_no_report_is_named_with_what_it_is(saved, report, tmp_path, content, message):
    saved(good=made())
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    for arguments in (["a.json"], ["good.json", "a.json"]):
        done = report(*arguments)
        assert done.exit_code == 2
        assert message in done.stderr


def test_a_page_that_cannot_be_written_is_bad_usage(saved, report):
    saved(a=made())
    done = report("a.json", "--html", "nowhere/a.html")
    assert done.exit_code == 2
    assert "nowhere/a.html cannot be written" in done.stderr


@pytest.mark.parametrize(
    "op", ["at\udc80n::_to_copy.default", "aten.\udc80.default", "aten.add.\udc80", "größe.größe.größe"]
)
def test_a_row_of_an_op_that_there_is_not_is_shown(op):
    assert "1 on the host" in str(made(row(op, "host")))
