"""A whole program on the device beside the same program on CPU."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ttreg
from ttreg.checking.compare import pcc
from ttreg.demo.part import NetworkCalls
from ttreg.report import Report, why

LEAST_SHARE = 0.95  # of the floating-point calls, on the device
LEAST_PCC = 0.99


@pytest.fixture
def beside_cpu():
    """Runs `program()` plainly, then in a block of the emulated device: both have to give the same.

    Labels, tokens, integers and shapes have to be equal, floating-point values to correlate. No warning may come that
    plain PyTorch does not give, every call left on the host has to have a reason, and the device has to run its share
    of the floating-point calls: of those inside the forward of `networks`, if they are named, else of all.
    `program` seeds what it draws, so that two runs are alike.
    """

    def run(
        program: Callable[[], Any],
        *,
        least_share: float = LEAST_SHARE,
        networks: Sequence[nn.Module] = (),
        **keywords: Any,
    ) -> Report:
        expected, warned = _with_warnings(program)
        network = NetworkCalls()
        with ttreg.device_mode(**{"device": "emulated", **keywords}) as session:
            with network.counted(session, networks):
                given, warned_more = _with_warnings(program)
            report = session.report()
        assert_same(given, expected)
        assert warned_more <= warned
        assert all(why(row) for row in report.ops if row.placement == "host")
        counted = network if networks else report.totals
        assert counted.device >= least_share * (counted.device + counted.host_float), f"{network!r}\n{report}"
        assert counted.device
        return report

    return run


@pytest.fixture
def fails_as_on_cpu():
    """Runs `program()`, which has to raise an error of the given kind, plainly and in a block of the emulated device.

    Both errors have to be alike in type and text, and `then()` has to give in the same block what it gives on CPU.
    """

    def run(program: Callable[[], Any], kind: type[Exception], then: Callable[[], Any]) -> None:
        with pytest.raises(kind) as expected:
            program()
        wanted = then()
        with ttreg.device_mode(device="emulated") as session:
            with pytest.raises(kind) as given:
                program()
            assert_same(then(), wanted)
        assert (given.type, str(given.value)) == (expected.type, str(expected.value))
        assert session.report().totals.device

    return run


@pytest.fixture(scope="session")
def small() -> Any:
    """Small seeded models and tokenizers: examples/seeded/pipelines.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        return importlib.import_module("seeded.pipelines")


def _with_warnings(program: Callable[[], Any]) -> tuple[Any, set[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = program()
    return result, {str(warning.message) for warning in caught}


def assert_same(given: Any, expected: Any, where: str = "result") -> None:
    """Raise AssertionError naming the first place at which two results of one program differ."""
    if isinstance(expected, np.ndarray):
        assert isinstance(given, np.ndarray), where
        given, expected = torch.as_tensor(given), torch.as_tensor(expected)
    if isinstance(expected, torch.Tensor):
        assert (given.shape, given.dtype) == (expected.shape, expected.dtype), where
        if expected.dtype.is_floating_point or expected.dtype.is_complex:
            assert pcc(given, expected) >= LEAST_PCC, f"{where}: PCC {pcc(given, expected)}"
        else:
            assert torch.equal(given, expected), where
    elif isinstance(expected, (float, np.floating)):
        assert given == pytest.approx(expected, rel=1e-2, abs=1e-3), where
    elif isinstance(expected, dict):
        assert list(given) == list(expected), where
        for key in expected:
            assert_same(given[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(given) == len(expected), where
        for index, (one, other) in enumerate(zip(given, expected, strict=True)):
            assert_same(one, other, f"{where}[{index}]")
    else:
        assert given == expected, where
