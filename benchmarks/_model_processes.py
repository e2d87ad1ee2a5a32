"""A process of its own for each model, forked from one that has imported what the models are made with."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from _model_run import measured
from _zoo import Row

from ttreg.registry import registry


def one_by_one(connection: Connection, rows: Mapping[str, Row], validate: bool) -> None:
    """Run in a worker process: answer each name of a model with its figures."""
    torch.set_num_threads(1)  # before anything forks: a forked process has none of the threads
    for row in rows.values():
        if row.library != "own code":
            library = importlib.import_module(row.library)
            getattr(library, row.constructor, None)  # which imports it, where a library waits with that
    registry.load()
    connection.send("ready")
    with suppress(EOFError):
        while True:
            connection.send(in_a_fork(rows[connection.recv()], validate))


def in_a_fork(row: Row, validate: bool) -> dict[str, Any]:
    """The figures of a model, from a forked process."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        with os.fdopen(writes, "w", encoding="utf-8") as answer:
            json.dump(figures(row, validate), answer)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, encoding="utf-8") as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    if text:
        return json.loads(text)
    code = os.waitstatus_to_exitcode(status)
    return {"error": f"its process ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"}


def figures(row: Row, validate: bool) -> dict[str, Any]:
    """The figures of a model, or how it failed."""
    try:
        return measured(row, validate)
    except Exception as error:  # of whatever type: the table says so, and the other models run
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        return {"error": f"{type(error).__name__}: {lines[0]}"}
