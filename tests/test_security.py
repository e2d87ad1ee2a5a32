"""What SECURITY.md promises of the code: no file is unpickled or evaluated, and nothing is reached over a network."""

from __future__ import annotations

import ast
import json
import socket
import tempfile
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import ttreg
from ttreg.checking.reproduce import Input, snippet
from ttreg.cli import app
from ttreg.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("ttreg", "ops", "fallback") for path in (ROOT / folder).rglob("*.py"))

UNPICKLE = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "yaml"}
NETWORK = {"socket", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "xmlrpc"}
NETWORK |= {"socketserver", "telnetlib", "asyncio", "huggingface_hub"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.jit.load", "torch.export.load", "torch.hub.load"}
CALLS |= {"numpy.load", "np.load", "os.system", "os.popen", "torch.hub.load_state_dict_from_url"}

# What these run is either the program that the user names, or code that they write themselves from names of functions.
ALLOWED = {
    ("ttreg/bench/recording.py", "exec"),
    ("ttreg/bench/recording.py", "compile"),
    ("ttreg/cli/program.py", "exec"),
    ("ttreg/cli/program.py", "compile"),
    ("ttreg/coverage/targets.py", "torch.export.load"),
    ("ttreg/recording/program.py", "exec"),
    ("ttreg/recording/program.py", "compile"),
}


def used(path):
    """The modules of the lists above that a file imports, and their functions that it calls."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.partition(".")[0] in UNPICKLE | NETWORK)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            if node.module.partition(".")[0] in UNPICKLE | NETWORK:
                yield node.module
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS or any(word.arg == "shell" for word in node.keywords):
                yield called


def test_no_file_is_unpickled_or_evaluated_and_no_network_is_imported():
    assert len(SOURCES) > 200
    found = {(path.relative_to(ROOT).as_posix(), name) for path in SOURCES for name in used(path)}
    assert found == ALLOWED


def test_what_is_looked_for_is_found(tmp_path):
    source = "import yaml, http.client\nfrom pickle import load\nx = eval('1')\nf = torch.load(p)\nrun(c, shell=True)\n"
    (tmp_path / "bad.py").write_text(source)
    assert set(used(tmp_path / "bad.py")) == {"yaml", "http.client", "pickle", "eval", "torch.load", "run"}


def test_the_tests_have_no_network(reached):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for reach in (
            lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
            lambda: socket.getaddrinfo("ttreg.invalid", 80),
            lambda: datagrams.sendto(b"", ("192.0.2.1", 9)),
        ):
            with pytest.raises(PermissionError, match="no network"):
                reach()
    assert reached == ["192.0.2.1", "ttreg.invalid", "192.0.2.1"]
    reached.clear()
    with socket.create_server(("127.0.0.1", 0)) as server:  # as processes of a distributed program do
        socket.create_connection(server.getsockname()).close()


COMMANDS = (
    ("--version",),
    ("list",),
    ("show", "add.Tensor"),
    ("why", "relu", "--args", "f32[8, 8]"),
    ("config",),
    ("report", "report.json", "--html", "page.html"),
    ("report", "report.json", "report.json"),
    ("new-op", "heaviside", "--no-verify"),
)


def test_commands_and_a_session_reach_for_nothing(tmp_path, monkeypatch, reached):
    monkeypatch.chdir(tmp_path)
    with ttreg.device_mode(device="emulated", min_upload_numel=0, trace="trace.json") as session:
        torch.nn.Linear(8, 8)(torch.rand(4, 8)).sum().backward()
    (tmp_path / "report.json").write_text(session.report().model_dump_json())
    for command in COMMANDS:
        done = CliRunner().invoke(app, list(command))
        assert done.exit_code == 0, (command, done.output)
    page = (tmp_path / "page.html").read_text()
    assert "<script src" not in page
    assert "<link" not in page
    assert json.loads((tmp_path / "report.json").read_text())["trace"]
    assert not reached


def test_what_a_failed_check_saves_is_readable_for_its_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    op = torch.ops.aten.relu.default
    text = snippet(Settings(), op, (Input(torch.rand(100)),), {}, False, "ttreg.ops.activations")
    (saved,) = tmp_path.iterdir()
    assert saved.stat().st_mode & 0o077 == 0
    assert f"torch.load({str(saved)!r}, weights_only=True)" in text
