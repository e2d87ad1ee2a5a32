"""The command line: what each command prints, in both forms, and how it exits."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

from ttreg import cli
from ttreg.devices import doctor
from ttreg.devices.doctor import Line
from ttreg.verification import verify
from ttreg.verification.verify import Verdict
from ttreg.versions import TTNN

runner = CliRunner()


def verdict(**changes):
    return Verdict(**({"op": "aten.add.Tensor", "family": "binary", "arch": "blackhole", "sample": 3} | changes))


@pytest.fixture
def verdicts(monkeypatch):
    """What `verify` finds, in place of half a minute on mocked chips."""
    found = [verdict(accepted=True), verdict(accepted=False), verdict(accepted=True)]
    monkeypatch.setattr(verify, "verify", lambda arch, patterns, **settings: iter(found))
    return found


def test_without_a_command_it_shows_the_commands():
    shown = runner.invoke(cli.app, []).output
    for command in ("demo", "verify", "doctor"):
        assert command in shown


def test_the_version_is_shown_with_those_of_torch_and_ttnn():
    done = runner.invoke(cli.app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [f"{name} {metadata.version(name)}" for name in ("ttreg", "torch", "ttnn")]


def test_verify_counts_the_accepted_samples_that_passed(verdicts):
    done = runner.invoke(cli.app, ["verify", "add", "--arch", "blackhole"])
    assert done.exit_code == 0
    assert "2 of 2 accepted samples passed, on blackhole" in done.stdout


def test_verify_shows_what_ttnn_refused_and_fails(verdicts):
    verdicts[0].error = "ValidationError: ttnn refuses add"
    done = runner.invoke(cli.app, ["verify", "--arch", "blackhole"])
    assert done.exit_code == 1
    assert "ttnn refuses add" in done.stdout
    assert "1 of 2 accepted samples passed" in done.stdout


def test_verify_prints_json_lines(verdicts):
    done = runner.invoke(cli.app, ["verify", "--arch", "both", "--json"])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Verdict(**line) for line in lines] == verdicts * 2


def test_verify_refuses_a_chip_it_does_not_know():
    done = runner.invoke(cli.app, ["verify", "--arch", "grayskull"])
    assert done.exit_code == 2
    assert "wormhole_b0" in done.stderr


def test_verify_refuses_a_precision_it_does_not_know():
    done = runner.invoke(cli.app, ["verify", "add", "--precision", "int8"])
    assert done.exit_code == 2
    assert "'preserve', 'bfloat16'" in done.stderr


def test_verify_says_that_no_entry_has_the_name():
    done = runner.invoke(cli.app, ["verify", "no_such_op", "--arch", "blackhole"])
    assert done.exit_code == 2
    assert "no_such_op" in done.stderr


def test_doctor_really_opens_the_mocked_chips():
    done = runner.invoke(cli.app, ["doctor", "--json"])
    lines = {line["name"]: Line(**line) for line in json.loads(done.stdout)}
    assert done.exit_code == 0
    assert {lines[name].status for name in ("Python", "ttnn", "mocked wormhole_b0", "mocked blackhole")} == {"ok"}
    assert lines["cards"].advice


def test_doctor_fails_where_something_is_broken(monkeypatch):
    broken = Line(name="ttnn", status="fail", found="0.1", advice="pip install another")
    monkeypatch.setattr(doctor, "examine", lambda: iter([broken]))
    done = runner.invoke(cli.app, ["doctor"])
    assert done.exit_code == 1
    assert "pip install another" in done.stdout


def test_doctor_finds_a_wrong_ttnn_and_a_simulator_that_is_not_there(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "0.80.0")
    monkeypatch.setenv("TT_METAL_SIMULATOR", "/no/such/simulator")
    assert doctor._package(TTNN).status == "fail"
    assert "0.81.1" in doctor._package(TTNN).advice
    assert doctor._simulator().status == "fail"


def test_doctor_does_not_look_at_all_files_of_a_large_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(doctor, "_MOST_FILES", 3)
    for number in range(2):
        (tmp_path / str(number)).write_bytes(bytes(1 << 20))
    assert (doctor._cache().status, doctor._cache().found) == ("ok", f"{tmp_path}: 2.0 MiB")
    for number in range(2, 5):
        (tmp_path / str(number)).write_bytes(bytes(1 << 20))
    assert (doctor._cache().status, doctor._cache().found) == ("warn", f"{tmp_path}: at least 3.0 MiB")
    assert doctor._cache().advice


def test_doctor_finds_a_cache_that_is_no_folder(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "file"))
    assert doctor._cache().status == "fail"
    monkeypatch.setenv("TTREG_CACHE_DIR", str(tmp_path / "absent"))
    assert doctor._cache().status == "ok"
