"""`ttreg list`, `show`, `why`, `config` and `docs`: what they answer, and what they say of a wrong question."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import TypeAdapter
from typer.main import get_command
from typer.testing import CliRunner

from ttreg import cli
from ttreg.cli.reference import commands_page
from ttreg.conditions import Never
from ttreg.explain import docs
from ttreg.explain.accuracy import accuracy_page
from ttreg.explain.catalogue import Detail, Row, detail, row
from ttreg.explain.lookup import UnknownOpError, derived_forms, find_op
from ttreg.explain.why import Answer
from ttreg.registry import registry
from ttreg.schema import functional_form
from ttreg.settings import Settings

aten = torch.ops.aten


def run(*arguments):
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def rows(*arguments):
    return TypeAdapter(list[Row]).validate_json(run("list", "--json", *arguments).stdout)


def test_list_has_every_entry_once():
    listed = rows()
    assert [r.op for r in listed] == [str(entry.op) for entry in registry]
    assert listed == [row(entry) for entry in registry]


def test_list_selects_by_part_pattern_family_and_placement():
    assert {r.op for r in rows("cumsum")} == {"aten.cumsum.default"}
    assert {r.op for r in rows("cum*")} == {"aten.cumprod.default", "aten.cumsum.default"}
    assert {r.family for r in rows("--family", "matmul")} == {"matmul"}
    assert {r.placement for r in rows("--placement", "host")} == {"host"}
    assert {r.family for r in rows("matmul", "cumulative")} >= {"matmul", "cumulative"}


def test_list_sorts_numbers_with_the_largest_first():
    counts = [r.samples for r in rows("--sort", "samples")]
    assert counts == sorted(counts, reverse=True)
    families = [r.family for r in rows("--sort", "family")]
    assert families == sorted(families)


def test_the_count_is_not_part_of_the_answer():
    done = run("list", "cumsum")
    assert done.stdout.splitlines()[1].split()[:4] == ["aten.cumsum.default", "cumulative", "device", "3"]
    assert done.stderr == "1 entry: 1 device\n"


def test_nothing_that_matches_is_a_no_with_the_closest_names():
    done = run("list", "cumsun")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cumsum" in done.stderr


def test_an_unknown_family_is_bad_usage():
    done = run("list", "--family", "matmull")
    assert done.exit_code == 2
    assert "matmul" in done.stderr


def test_dtypes_are_those_that_every_condition_on_the_first_tensor_allows():
    assert row(registry.find(aten.cumsum.default)).dtypes == ("bf16", "f32")
    assert row(registry.find(aten.nonzero.default)).dtypes == ()


def test_show_has_all_of_an_entry():
    (shown,) = TypeAdapter(list[Detail]).validate_json(run("show", "cumsum", "--json").stdout)
    entry = registry.find(aten.cumsum.default)
    assert shown == detail(entry)
    assert shown.op_schema == str(aten.cumsum.default._schema)
    assert [said.condition for said in shown.conditions] == [str(c) for c in entry.conditions]
    assert [said.because for said in shown.conditions] == [c.because for c in entry.conditions]
    assert "def cumsum(tt, self, dim, dtype, out)" in shown.lowering.code
    assert len(shown.samples) == len(list(entry.samples()))
    assert {s.refused.partition(", got")[0] for s in shown.samples} - {""} == {str(c) for c in entry.conditions}
    assert any("`cumsum`" in remark.ttnn for remark in shown.limits)


def test_show_says_what_a_chip_gives_otherwise():
    text = " ".join(run("show", "erf.default").stdout.split())
    assert "on a chip in float32, NaN becomes 1" in text
    assert "in bfloat16, as of every op, NaN becomes an infinity" in text
    (shown,) = TypeAdapter(list[Detail]).validate_json(run("show", "nonzero", "--json").stdout)
    assert shown.chip == ()
    for name in ("relu", "clamp", "maximum", "amin", "max_pool2d_with_indices", "sgn", "hardtanh"):
        assert any(entry.chip and "NaN" in entry.chip for entry in registry.matching([f"aten.{name}*"]))
    assert "`erf`: NaN becomes 1" in docs.ops_page()


def test_show_has_the_figures_that_a_file_holds(tmp_path):
    row = {"op": "aten.cumsum.default", "family": "cumulative", "shapes": "samples", "call": "self=f32[5, 7], dim=0"}
    rows = [row | {"mock": {"microseconds": 51.25, "spread": 0.1}}, row | {"op": "aten.cumprod.default"}]
    run_of = {
        "machine": {"ttreg": "0.1.0", "cpu": "An Abacus"},
        "taken": "2026-01-31",
        "arch": "blackhole",
        "rounds": 3,
    }
    file = tmp_path / "figures.json"
    file.write_text(json.dumps(run_of | {"rows": rows}))

    (shown,) = TypeAdapter(list[Detail]).validate_json(run("show", "cumsum", "--json", "--figures", str(file)).stdout)
    (measured,) = shown.measured
    assert (measured.call, measured.microseconds) == ("self=f32[5, 7], dim=0", {"mock": 51.25})
    text = run("show", "cumsum", "--figures", str(file)).stdout
    assert "self=f32[5, 7], dim=0: mocked chip 51.2 µs\n" in text
    assert "2026-01-31, An Abacus, ttreg 0.1.0, blackhole, 3 rounds\n" in text

    file.write_text("{}")
    for wrong in (file, tmp_path / "none.json"):
        done = run("show", "cumsum", "--figures", str(wrong))
        assert (done.exit_code, done.stdout) == (2, "")
        assert "--figures" in done.stderr


@pytest.mark.parametrize("entry", list(registry), ids=lambda entry: str(entry.op))
def test_show_works_for_every_entry(entry):
    shown = detail(entry)
    assert (shown.lowering is not None) == (entry.kind == "device")
    if shown.lowering is not None:
        assert ":" in shown.lowering.source
        assert shown.lowering.code
    for form in shown.forms:
        assert functional_form(find_op(form)) is entry.op
    assert all(not isinstance(c, Never) for c in entry.conditions) == (entry.kind == "device")


def test_show_has_an_entry_for_each_overload_and_for_derived_forms():
    several = [one["op"] for one in json.loads(run("show", "add", "--json").stdout)]
    assert "aten.add.Tensor" in several
    assert [one["op"] for one in json.loads(run("show", "relu_", "--json").stdout)] == ["aten.relu.default"]
    assert aten.relu_.default in derived_forms(registry.find(aten.relu.default))


def test_values_around_a_lowering_are_shown():
    assert "name = 'mish'" in run("show", "mish").stdout


@pytest.mark.parametrize("name", ["cumsum", "aten.cumsum", "aten::cumsum", "torch.ops.aten.cumsum", "cumsum.default"])
def test_an_op_has_many_names(name):
    assert str(find_op(name)).startswith("aten.cumsum")


@pytest.mark.parametrize(
    ("name", "op"),
    [
        ("torch.softmax", "softmax"),
        ("F.gelu", "gelu"),
        ("torch.Tensor.view", "view"),
        ("torch.linalg.norm", "linalg_norm"),
    ],
)
def test_an_op_may_be_named_as_programs_name_it(name, op):
    assert str(find_op(name)) == f"aten.{op}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sofmax", "softmax"),
        ("add.Tensr", "it has aten.add.Tensor, "),
        ("aten.cumsun", "cumsum"),
        ("__class__", "no op is named"),
        ("a.b.c.d", "no op is named"),
        ("", "no op is named"),
        ("aten:\udc80ex.Tensor", "no op is named"),
        ("aten.\udc80ex", "no op is named"),
    ],
)
def test_a_misspelt_name_gets_the_closest(name, said):
    with pytest.raises(UnknownOpError, match=said):
        find_op(name)
    for command in (["show"], ["why"]):
        done = run(*command, name)
        assert (done.exit_code, done.stdout) == (2, "")


def test_why_exits_with_its_answer():
    assert run("why", "cumsum", "--args", "f32[3], 0").exit_code == 0
    assert run("why", "cumsum", "--args", "i32[3], 0").exit_code == 1
    assert run("why", "cumsum", "--args", "i32[3], x").exit_code == 2
    assert run("why", "cumsum").exit_code == 2


def test_why_takes_a_call_as_an_error_message_shows_it():
    done = run("why", "aten.cumsum.default(self=int32[8, 128], dim=0, dtype=None)", "--json")
    answer = TypeAdapter(Answer).validate_json(done.stdout)
    assert (answer.got, answer.nearest.change) == ("int32", {"self": "f32[8, 128]"})


def test_why_shows_the_parts_of_a_decomposed_op():
    shown = run("why", "linear", "--args", "f16[8, 64], f16[16, 64]").stdout
    assert "aten.mm.default runs on the host" in shown


def test_config_shows_where_each_setting_comes_from(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ttreg]\ncheck = 0.9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTREG_ON_FALLBACK", "warn")
    said = {
        setting["name"]: (setting["value"], setting["source"]) for setting in json.loads(run("config", "--json").stdout)
    }
    assert said["check"] == (0.9, str(tmp_path / "pyproject.toml"))
    assert said["on_fallback"] == ("warn", "TTREG_ON_FALLBACK")
    assert said["device"] == ("auto", "default")
    assert set(said) == {*Settings.__dataclass_fields__, "cache_dir", "plugins"}


def test_config_refuses_what_is_unknown(monkeypatch):
    assert run("config", "speed").exit_code == 2
    monkeypatch.setenv("TTREG_SPEED", "1")
    done = run("config")
    assert done.exit_code == 2
    assert "TTREG_SPEED" in done.stderr


def test_the_committed_pages_have_what_is_generated_now():
    commands = commands_page(get_command(cli.app), cli.COMMANDS)
    texts = {"ops.md": docs.ops_page(), "accuracy.md": accuracy_page(), "commands.md": commands}
    stale = [name for name, text in texts.items() if (docs.folder() / name).read_text() != text]
    assert not stale, f"docs/{' and docs/'.join(stale)} are not what is generated now: run `ttreg docs` and commit them"


def test_every_entry_of_ttregs_own_is_in_the_page():
    page = docs.ops_page()
    for entry in registry:
        if entry.op.namespace == "aten" and entry.module.startswith("ttreg.ops."):
            assert f"| `{docs.short_name(entry)}` |" in page
            for condition in entry.conditions:
                assert docs.escaped(condition.because) in page


def test_docs_are_written_whole_and_checked(tmp_path):
    assert run("docs", "--output", str(tmp_path), "--check").exit_code == 1
    assert list(tmp_path.iterdir()) == []
    assert run("docs", "--output", str(tmp_path)).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.md", "commands.md", "ops.md"]
    assert run("docs", "--output", str(tmp_path), "--check").exit_code == 0
    (tmp_path / "ops.md").write_text("stale")
    done = run("docs", "--output", str(tmp_path), "--check")
    assert done.exit_code == 1
    assert "ops.md: stale" in done.stdout
