"""The library logs and never prints."""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import torch
from typer.testing import CliRunner

import ttreg
from ttreg import cli, devices
from ttreg.versions import TTNN

ROOT = Path(__file__).parent.parent


def test_nothing_but_the_commands_and_the_demo_prints():
    printing = []
    for folder in ("ttreg", "ops", "fallback"):
        for path in (ROOT / folder).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            if any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls):
                printing.append(path.relative_to(ROOT).as_posix())
    assert printing == []


def test_devices_and_decisions_are_logged(caplog, monkeypatch):
    monkeypatch.setattr(devices, "_open", {})
    caplog.set_level(logging.DEBUG, "ttreg")
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        torch.relu(torch.ones(2, dtype=torch.float64))
    messages = [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert ("ttreg.devices", "INFO", f"opened emulated wormhole_b0, ttnn {TTNN.newest}") in messages
    decided = next(message for name, _, message in messages if name == "ttreg.runtime.ledger" and "relu" in message)
    assert decided.startswith("aten.relu.default: host, self in {")
    assert "got float64" in decided


def test_without_a_handler_nothing_is_shown(capfd):
    logging.getLogger("ttreg").warning("nobody listens")
    assert capfd.readouterr().err == ""


def test_the_command_line_shows_the_log_where_asked(monkeypatch):
    logger = logging.getLogger("ttreg")
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    level = logger.level
    try:
        done = CliRunner().invoke(cli.app, ["-vv", "config", "device"])
        assert done.exit_code == 0
        assert logger.level == logging.DEBUG
        assert len(logger.handlers) == 1
        assert CliRunner().invoke(cli.app, ["-v", "config"]).exit_code == 0
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(level)
