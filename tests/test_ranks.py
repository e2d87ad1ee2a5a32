"""Reports of the ranks of one program, counted together."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli
from ttreg.report import Report, Shown, read_report


def reported(monkeypatch, rank, of, sums):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(of))
    x = torch.ones(64, 64)
    with ttreg.device_mode(device="emulated") as session:
        for _ in range(sums):
            (x * 2).tolist()
    return session.report()


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Two reports of two ranks, and one of a program of one process, in files of the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, rank, of, sums in (("rank0", 0, 2, 3), ("rank1", 1, 2, 4), ("again", 1, 2, 5), ("alone", 0, 1, 1)):
        (tmp_path / f"{name}.json").write_text(reported(monkeypatch, rank, of, sums).model_dump_json())
    return tmp_path


def report(*arguments):
    return CliRunner().invoke(cli.app, ["report", *arguments])


def test_they_are_summed(saved):
    done = report("rank1.json", "rank0.json", "--json")
    assert done.exit_code == 0, done.output
    shown = Shown.model_validate_json(done.stdout)
    parts = [read_report(saved / f"rank{n}.json") for n in (0, 1)]
    assert shown.before is None
    assert shown.difference is None
    assert [row.rank for row in shown.report.ranks] == [0, 1]
    assert shown.report.totals.device == 7
    assert shown.report.transfers.download_bytes == 7 * 64 * 64 * 4
    assert [row.count for row in shown.report.ops if row.op == "aten.mul.Tensor"] == [7]
    assert sum(shown.report.device_calls.values()) == sum(sum(part.device_calls.values()) for part in parts)
    assert shown.report.cost.total.bytes_read == sum(part.cost.total.bytes_read for part in parts)
    assert shown.report.programs.new == sum(part.programs.new for part in parts)
    assert shown.report.cost.memory.peak_bytes == max(part.cost.memory.peak_bytes for part in parts)


def test_a_table_shows_each(saved):
    done = report("rank0.json", "rank1.json")
    assert done.exit_code == 0
    assert "2 ranks counted together" in done.stdout
    assert "floating-point on the host" in done.stdout


def test_one_of_them_says_which_it_is(saved):
    assert ", rank 1 of 2" in report("rank1.json").stdout
    assert ", rank" not in report("alone.json").stdout


@pytest.mark.parametrize("pair", [("rank1.json", "again.json"), ("alone.json", "rank1.json")])
def test_two_others_are_compared(saved, pair):
    assert Shown.model_validate_json(report(*pair, "--json").stdout).difference is not None


def test_more_than_two_have_to_be_of_ranks(saved):
    done = report("rank0.json", "rank1.json", "again.json")
    assert done.exit_code == 2
    assert "each of another rank" in done.output


def test_ranks_are_not_compared(saved):
    assert report("rank0.json", "rank1.json", "--fail-on-regression").exit_code == 2


def test_run_writes_one_for_each_rank(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    script = tmp_path / "script.py"
    script.write_text("import torch\nprint((torch.ones(64, 64) * 2).sum())\n")
    done = CliRunner().invoke(
        cli.app, ["run", "--device", "emulated", "--report", str(tmp_path / "rank{rank}.json"), str(script)]
    )
    assert done.exit_code == 0, done.output
    written = Report.model_validate_json((tmp_path / "rank1.json").read_text())
    assert (written.rank.rank, written.rank.of) == (1, 2)
