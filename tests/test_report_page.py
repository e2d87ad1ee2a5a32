"""The page of a report: all that the report has, nothing from elsewhere, and a timeline where there is a trace."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.report import DeviceInfo, OpRow, Report, Totals, TracePart, Transfers
from ttreg.reporting.page import compact, page
from ttreg.reporting.timeline import WIDTH, Lane, NoTimelineError, timeline

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


class Page(HTMLParser):
    """The elements of a page: tags, attributes and text. Raises AssertionError where they do not match up."""

    EMPTY = ("meta", "input")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


NASTY = "<script>alert('&')</script>\"><img src=x>"


def everything_nasty(folder):
    trace = folder / "t.json"
    lane = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": NASTY}}
    event = {"ph": "X", "name": NASTY, "cat": NASTY, "ts": 0, "dur": 1, "pid": 1, "tid": 1, "args": {}}
    trace.write_text(f"[\n{json.dumps(lane)},\n{json.dumps(event)}\n]\n")
    nasty = made(row(NASTY, "host", condition=NASTY, reason=NASTY, got=NASTY, bytes=7))
    nasty.device = DeviceInfo(name=NASTY, arch=NASTY, ttnn_version=NASTY, validated=True)
    nasty.trace = TracePart(file=str(trace), process=1)
    return nasty


def test_the_page_has_what_the_report_has(tmp_path):
    with ttreg.device_mode(device="emulated", min_upload_numel=0, trace=tmp_path / "t.json") as session:
        torch.special.bessel_j0(torch.relu(X).t())
    (tmp_path / "a.json").write_text(session.report().model_dump_json())
    html = tmp_path / "a.html"
    done = CliRunner().invoke(cli.app, ["report", str(tmp_path / "a.json"), "--html", str(html)])
    assert done.stdout == f"{html}: written\n"
    shown = Page(html.read_text(encoding="utf-8"))
    assert "50.0%" in shown.words
    for each in session.report().ops:
        assert each.op in shown.words
    assert "the registry does not have this op" in shown.words
    assert "device ops 1 event" in shown.words
    assert "1 (6.2 KiB)" in shown.words
    assert {"svg", "rect", "script"} <= set(shown.tags)


def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    for text in (page(made(row("aten.a.x")), "a.json"), compact(made(row("aten.a.x")))):
        shown = Page(text)
        assert not {"link", "img", "iframe"} & set(shown.tags)
        assert not [name for name, _ in shown.attributes if name in ("src", "href", "onclick", "style")]
        assert "//" not in text.replace("// The table of ops", "")
        assert "@import" not in text
        assert "url(" not in text


def test_the_page_of_two_reports_shows_what_changed():
    text = page(made(row("aten.a.x", "host"), uploads=9), "b.json", (made(row("aten.a.x"), uploads=4), "a.json"))
    words = Page(text).words
    for part in (
        "compared to a.json",
        "worse aten.a.x 1 device 1 host",
        "uploads before 4 (0 B)",
        "uploads now 9 (0 B)",
    ):
        assert part in words
    assert "Nothing." in Page(page(made(), "b.json", (made(), "a.json"))).words


def test_all_that_comes_from_files_is_escaped(tmp_path):
    nasty = everything_nasty(tmp_path)
    for text in (page(nasty, NASTY, (nasty, NASTY)), page(nasty, NASTY, (made(), NASTY)), nasty._repr_html_()):
        shown = Page(text)
        assert "img" not in shown.tags
        assert shown.tags.count("script") == ("html" in shown.tags)
        assert " ".join(NASTY.split()) in shown.words


def test_a_report_of_nothing_has_a_page_too():
    words = Page(page(made(), "a.json")).words
    assert "none ran" in words
    assert "Nothing ran on the host." in words
    assert "No op was called." in words
    assert Page(compact(made())).words


def test_notebooks_show_the_short_form():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        torch.special.bessel_j0(X)
    shown = Page(session.report()._repr_html_())
    assert "aten.special_bessel_j0.default" in shown.words
    assert not {"html", "script", "body"} & set(shown.tags)
    many = made(*(row(f"aten.op{n}.default", "host", reason=f"reason {n}") for n in range(40)))
    words = Page(many._repr_html_()).words
    assert "and 25 more reasons" in words
    assert "and 25 shorter rows" in words


def test_without_a_trace_the_page_says_how_to_get_one(tmp_path):
    assert 'device_mode(trace="t.json")' in Page(page(made(), "a.json")).words
    gone = made()
    gone.trace = TracePart(file=str(tmp_path / "t.json"), process=1)
    assert f"The trace {tmp_path / 't.json'} is gone" in Page(page(gone, "a.json")).words


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[\n]\n",
        "[\nnothing\n]",
        '[\n{"pid": 1}\n]',
        '[\n{"pid": 2, "ph": "X"}\n]',
        "[\n3\n]",
        "[\n" + '{"a":' * 99999,
    ],
)
def test_a_trace_that_cannot_be_drawn_is_said_so(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    broken = made()
    broken.trace = TracePart(file=str(tmp_path / "t.json"), process=1)
    with pytest.raises(NoTimelineError, match=r"not as ttreg writes it|nothing of this session"):
        timeline(broken)


def test_the_timeline_is_of_the_sessions_own_part_of_the_trace(tmp_path):
    reports = []
    for op in (torch.relu, torch.special.bessel_j0):
        with ttreg.device_mode(device="emulated", min_upload_numel=0, trace=tmp_path / "t.json") as session:
            op(X)
        reports.append(session.report())
    first, second = map(timeline, reports)
    assert [(lane.name, lane.kind, lane.events) for lane in first.lanes] == [
        ("device ops", "device", 1),
        ("transfers", "transfer", 1),
    ]
    assert [(lane.name, lane.kind) for lane in second.lanes] == [("host ops", "host")]
    (tmp_path / "t.json").rename(tmp_path / "elsewhere.json")
    moved = tmp_path / "beside"
    moved.mkdir()
    (tmp_path / "elsewhere.json").rename(moved / "t.json")
    assert timeline(reports[1], moved) == second


def test_a_lane_joins_what_is_too_narrow_to_be_drawn_apart():
    lane = Lane("device ops")
    for n in range(100_000):
        start = WIDTH * n / 100_000
        lane.add(start, start + 0.01, "aten.relu.default", 0.5 if n == 7 else 0.1)
    assert lane.events == sum(block.count for block in lane.blocks) == 100_000
    assert len(lane.blocks) <= 2 * WIDTH
    assert lane.blocks[0].longest == "aten.relu.default"
    assert "the longest" in lane.blocks[0].text


def test_a_lane_draws_wide_blocks_apart_and_what_is_in_another_within_it():
    lane = Lane("decomposed ops")
    for start, end, name in ((0, 10, "a"), (10, 20, "b"), (32, 38, "inner"), (30, 40, "outer")):
        lane.add(start, end, name, end - start)
    assert [(block.start, block.end, block.longest, block.count) for block in lane.blocks] == [
        (0, 10, "a", 1),
        (10, 20, "b", 1),
        (30, 40, "outer", 2),
    ]


def test_a_condition_is_one_reason_whatever_it_met():
    met = ("2", "3", "4")
    refused = [row("aten.a.x", "host", 2, condition="x == 1", got=got, reason="it is odd", bytes=8) for got in met]
    unexplained = [row("aten.b.x", "host", condition="y == 1", got=got, reason=f"y == 1, got {got}") for got in met[:2]]
    words = Page(page(made(*refused, *unexplained), "a.json")).words
    reasons = words[words.index("On the host, and why") : words.index("Ops")]
    assert "6 24 B x == 1, got 2, and 2 more (it is odd) aten.a.x × 6" in reasons
    assert "2 0 B y == 1, got 2, and 1 more aten.b.x × 2" in reasons


def test_recorded_functions_have_a_table(device):
    scale = [2.0]

    def step(x):
        return x * scale[0] if x.sum() > 0 else x

    with torch.no_grad(), device as session:
        call = session.record(step)
        for number in range(6):
            scale[0] = 3.0 if number > 4 else 2.0
            call(X.clone())
    shown = Page(page(session.report(), "recorded")).words
    row = session.report().recorded[0]
    assert (row.recordings, row.paths) == (2, 2)
    assert row.segments > row.paths  # each path reads a value
    for words in ("Recorded functions", row.name, "did not hold: changed since the recording: scale[0]"):
        assert words in shown
    assert f"test_report_page.py:{step.__code__.co_firstlineno}" in row.line
    assert "Recorded functions" not in Page(page(made(), "none")).words
