"""docs/ttnn-limits.md says what the registry says."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter
from typer.testing import CliRunner

from ttreg import cli
from ttreg.conditions import AtMost, Check, Dtype
from ttreg.errors import TtregError
from ttreg.explain import limits
from ttreg.registry import Entry

aten = torch.ops.aten


def entry(op, *conditions, kind="device", module="ttreg.ops.family"):
    return Entry(op, kind, conditions, list, module=module)


def of_k(limit, because="rows lie in L1"):
    return AtMost("k", limit, because=because)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "ttnn-limits.md"
    monkeypatch.setattr(limits, "committed", lambda: path)
    return path


def test_the_committed_file_has_what_is_generated_now():
    text = limits.committed().read_text()
    assert limits.generated_in(text) == limits.generated(), (
        "docs/ttnn-limits.md does not say what the registry says now: run `ttreg limits --write` and commit it"
    )


def test_ops_with_one_condition_and_reason_share_a_row():
    entries = [entry(aten.topk.default, of_k(8)), entry(aten.kthvalue.default, of_k(8), of_k(4, "it is slow"))]
    assert limits.generated(entries).splitlines() == [
        "### family",
        "",
        "| op | runs on the device if | because |",
        "|---|---|---|",
        "| `kthvalue` | k <= 4 | it is slow |",
        "| `topk`, `kthvalue` | k <= 8 | rows lie in L1 |",
    ]


def test_what_has_no_reason_or_no_lowering_states_no_limit():
    host = entry(aten.topk.default, of_k(8), kind="host")
    assert limits.generated([host, entry(aten.add.Tensor, Dtype("self", (torch.float32,)))]) == ""


def test_families_are_in_order_and_text_cannot_break_a_table():
    bars = Check("a | b * c", lambda call: None, because="it | breaks")
    part = limits.generated([entry(aten.abs.default, bars, module=f"ttreg.ops.{name}") for name in ("b", "a")])
    assert part.index("### a") < part.index("### b")
    assert r"| `abs` | a \| b \* c | it \| breaks |" in part


def test_entries_of_other_packages_and_for_other_libraries_do_not_count():
    assert {e.op.namespace for e in limits.own_entries()} == {"aten"}
    assert {e.module.rpartition(".")[0] for e in limits.own_entries()} == {"ttreg.ops"}


def test_the_command_prints_the_tables():
    done = CliRunner().invoke(cli.app, ["limits"])
    assert done.exit_code == 0
    assert done.stdout == limits.generated() + "\n"


def test_the_json_has_what_the_tables_have():
    done = CliRunner().invoke(cli.app, ["limits", "--json"])
    assert TypeAdapter(list[limits.Limit]).validate_json(done.stdout) == limits.limits()


def test_writing_keeps_what_is_written_by_hand(file):
    file.write_text(f"# Limits\n\n{limits.BEGIN}\nstale\n{limits.END}\n\nMore.\n")
    done = CliRunner().invoke(cli.app, ["limits", "--write"])
    assert (done.exit_code, "written" in done.stdout) == (0, True)
    text = file.read_text()
    assert text.startswith(f"# Limits\n\n{limits.BEGIN}\n\n### ")
    assert text.endswith(f"\n{limits.END}\n\nMore.\n")
    assert limits.generated_in(text) == limits.generated()

    again = CliRunner().invoke(cli.app, ["limits", "--write"])
    assert (again.exit_code, "up to date" in again.stdout) == (0, True)
    assert file.read_text() == text


def test_without_a_file_it_says_so_and_fails(file):
    done = CliRunner().invoke(cli.app, ["limits", "--write"])
    assert done.exit_code == 2
    assert "checkout" in done.stderr
    assert not file.exists()


@pytest.mark.parametrize("text", ["", limits.BEGIN, limits.END, f"{limits.END}\n{limits.BEGIN}"])
def test_a_file_without_the_comments_is_left_alone(file, text):
    file.write_text(text)
    with pytest.raises(TtregError, match="two comments"):
        limits.write()
    assert file.read_text() == text
