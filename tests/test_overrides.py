"""`session.override` and `session.on_host`: what one session does otherwise, and nothing else does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ttnn
from torch.nn import functional as F
from typer.testing import CliRunner

import ttreg
from ttreg import aten, cli
from ttreg.conditions import Rank

TTREG = str(Path(sys.executable).parent / "ttreg")


def block(**settings):
    return ttreg.device_mode(**({"device": "emulated", "min_upload_numel": 0} | settings))


def doubled(tt, self, approximate):
    return tt.multiply(self, 2.0)


def row_of(session, op, placement):
    return next((r for r in session.report().ops if r.op == op and r.placement == placement), None)


def test_the_lowering_runs_in_this_session_until_it_is_undone():
    x = torch.randn(4, 4)
    with block() as session, block() as other, torch.no_grad():
        assert torch.allclose(F.gelu(x), F.gelu(x.clone()))
    with block() as session:
        expected = F.gelu(x)
        change = session.override(aten.gelu.default, doubled)
        assert torch.equal(F.gelu(x), 2 * x)
        with block() as other:
            assert torch.equal(F.gelu(x), expected)
        change.undo()
        change.undo()
        assert torch.equal(F.gelu(x), expected)
        with session.override(aten.gelu.default, doubled):
            assert torch.equal(F.gelu(x), 2 * x)
        assert torch.equal(F.gelu(x), expected)
    with block():
        assert torch.equal(F.gelu(x), expected)
    assert other.report().overrides == []
    report = session.report()
    assert report.overrides == [f"aten.gelu.default by {doubled.__module__}.doubled"]
    assert "in this session only: aten.gelu.default by" in str(report)
    rows = {row.reason: row.count for row in report.ops if row.op == "aten.gelu.default"}
    assert rows == {"": 3, report.overrides[0]: 2}


@pytest.mark.parametrize("grad_mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("settings", [{}, {"validate": True}], ids=["emulated", "validated"])
def test_a_composite_op_arrives_whole_in_every_grad_mode(grad_mode, settings):
    def lowering(tt, self, dim, dtype):
        return ttnn.multiply(tt.softmax(self, dim=dim), 3.0)  # ttnn itself may be called too

    x = torch.randn(3, 5)
    with grad_mode(), block(**settings) as session:
        plain = torch.softmax(x, -1)
        with session.override(aten.softmax.int, lowering):
            assert torch.allclose(torch.softmax(x, -1), 3 * plain, atol=1e-6)
            assert torch.allclose(F.softmax(x, 0), 3 * x.softmax(0).clone(), atol=10)
        assert torch.equal(torch.softmax(x, -1), plain)
    assert row_of(session, "aten.softmax.int", "device").count >= 2
    assert torch.allclose(torch.softmax(x, -1), x.softmax(-1))


def test_the_gradient_of_a_composite_op_is_pytorchs():
    def lowering(tt, self, dim, dtype):
        return tt.softmax(self, dim=dim)

    def loss(x):
        return (torch.softmax(x, -1) ** 2).sum()

    x = torch.randn(3, 5, requires_grad=True)
    (expected,) = torch.autograd.grad(loss(x), x)
    with block() as session, session.override(aten.softmax.int, lowering):
        (found,) = torch.autograd.grad(loss(x), x)
        (first,) = torch.autograd.grad(loss(x), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first.sum().backward()
    assert torch.allclose(found, expected, atol=1e-6)
    assert row_of(session, "aten.softmax.int", "device").count == 2


def test_calls_that_the_override_does_not_take_run_as_pytorch_has_them():
    def lowering(tt, self, dim, dtype):
        raise AssertionError("float64 has no ttnn dtype")

    x = torch.randn(3, 5).double()
    with block() as session, session.override(aten.softmax.int, lowering):
        assert torch.equal(torch.softmax(x, -1), x.softmax(-1))
        with torch.inference_mode():
            assert torch.allclose(torch.softmax(x, -1), x.exp() / x.exp().sum(-1, keepdim=True))


def test_in_place_and_out_forms_follow():
    x = torch.randn(4, 4)
    with block() as session, session.override(aten.relu.default, lambda tt, self: tt.multiply(self, 5.0)):
        y = x + 0
        assert torch.equal(torch.relu_(y), 5 * x)
        assert torch.equal(y, 5 * x)


def test_an_op_without_an_entry_gets_one():
    def lowering(tt, self, other):
        return tt.subtract(self, other)

    x, y = torch.rand(3, 3) + 1, torch.rand(3, 3)
    with block() as session:
        before = torch.special.zeta(x + 1, y)
        with session.override(aten.special_zeta.default, lowering):
            assert torch.equal(torch.special.zeta(x, y), x - y)
        assert torch.allclose(torch.special.zeta(x + 1, y), before)
    assert row_of(session, "aten.special_zeta.default", "device").count == 1


def test_takes_and_when_say_which_calls_it_gets():
    with block() as session:
        session.override(aten.gelu.default, doubled, takes=(torch.bfloat16,), when=[Rank("self", (1, 2))])
        x = torch.randn(4, 4)
        assert torch.allclose(F.gelu(x), torch.nn.GELU()(x.double()).float(), atol=1e-5)
        assert torch.equal(F.gelu(x.bfloat16()), 2 * x.bfloat16())


def test_the_latest_change_counts():
    x = torch.randn(4, 4)
    with block() as session, session.override(aten.gelu.default, doubled):
        with session.on_host("aten.gelu"):
            assert torch.allclose(F.gelu(x), torch.nn.GELU()(x), atol=1e-6)
            assert row_of(session, "aten.gelu.default", "host").count >= 1
        assert torch.equal(F.gelu(x), 2 * x)


@pytest.mark.parametrize("pattern", ["aten.gelu", "aten::gelu", "gelu.default", "gel*", "aten.gelu.default", "gelu"])
def test_ops_are_kept_on_the_host_by_patterns(pattern):
    x = torch.randn(4, 4)
    with block() as session:
        F.gelu(x)
        session.on_host(pattern)
        F.gelu(x)
        torch.relu(x)
    host = row_of(session, "aten.gelu.default", "host")
    assert (host.count, host.reason) == (1, f"{pattern!r} on the host")
    assert row_of(session, "aten.gelu.default", "device").count == 1
    assert row_of(session, "aten.relu.default", "device").count == 1


def test_families_in_place_forms_and_what_autograd_makes_of_an_op_are_named_too():
    x = torch.randn(4, 4)
    with block() as session:
        session.on_host("aten.softmax")
        torch.softmax(x, -1)
        session.on_host("aten.relu.default")
        torch.relu_(x + 0)
    assert row_of(session, "aten._softmax.default", "host").count == 1
    assert row_of(session, "aten.relu_.default", "host").count == 1


def test_a_fallback_that_was_asked_for_is_told_as_the_settings_say():
    with block(on_fallback="raise") as session:
        session.on_host("aten.gelu")
        with pytest.raises(ttreg.FallbackError, match=r"'aten\.gelu' on the host"):
            F.gelu(torch.randn(4, 4))


def test_recordings_of_before_do_not_replay_and_hold_again_afterwards():
    with torch.no_grad(), block() as session:
        step = session.record(lambda x: F.gelu(x) + 1)
        x = torch.randn(4, 4)
        plain = step(x)
        assert torch.equal(step(x), plain)
        with session.override(aten.gelu.default, doubled):
            for _ in range(3):
                assert torch.equal(step(x), 2 * x + 1)
        assert torch.equal(step(x), plain)


def test_counts_of_earlier_decisions_stay():
    x = torch.randn(4, 4)
    with block() as session:
        for _ in range(3):
            torch.relu(x)
            with session.on_host("aten.gelu"):
                torch.relu(x)
    assert row_of(session, "aten.relu.default", "device").count == 6


def test_what_does_not_fit_is_refused():
    with block() as session:
        with pytest.raises(ttreg.RegistryError, match="packet"):
            session.override(aten.gelu, doubled)
        with pytest.raises(ttreg.RegistryError, match="ignores approximate"):
            session.override(aten.gelu.default, lambda tt, self: self)
        with pytest.raises(ttreg.RegistryError, match="views have no lowering"):
            session.override(aten.transpose.int, lambda tt, self, dim0, dim1: self)
        with pytest.raises(ttreg.RegistryError, match="a lowering is a function"):
            session.override(aten.gelu.default, 3)
        with pytest.raises(ValueError, match="no op matches"):
            session.on_host("aten.no_such_op")
        with pytest.raises(ValueError, match="expected the name of an op"):
            session.on_host("")
        assert session.report().overrides == []


def test_an_error_in_the_lowering_names_it():
    def broken(tt, self, approximate):
        raise KeyError("nothing")

    with block() as session:
        session.override(aten.gelu.default, broken)
        with pytest.raises(ttreg.LoweringError, match=r"broken of aten\.gelu\.default failed"):
            F.gelu(torch.randn(4, 4))


def test_ttreg_run_keeps_ops_on_the_host(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import torch\nx = torch.randn(64, 64)\nprint(torch.relu(torch.nn.functional.gelu(x)).shape)\n")
    report = tmp_path / "report.json"
    rest = ["--min-upload-numel", "0", "--report", str(report), str(program)]
    command = [TTREG, "run", "--on-host", "aten.gelu", "--on-host", "tanh*", *rest]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["op"]: row for row in json.loads(report.read_text())["ops"]}
    assert rows["aten.gelu.default"]["placement"] == "host"
    assert rows["aten.relu.default"]["placement"] == "device"
    assert "in this session only: 'aten.gelu' on the host" in done.stderr


def test_ttreg_run_names_a_pattern_that_matches_nothing(tmp_path, monkeypatch):
    program = tmp_path / "program.py"
    program.write_text("raise SystemError('this does not run')\n")
    for name in ("argv", "path"):  # which a program that is run finds as its own, as it does __main__
        monkeypatch.setattr(sys, name, getattr(sys, name).copy())
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    done = CliRunner().invoke(cli.app, ["run", "--on-host", "nothing*", str(program)])
    assert done.exit_code == 2
    assert "no op matches 'nothing*'" in done.output
