"""What the demo's parts share: a program run on the CPU and on the device, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, computed_field
from rich.table import Table
from torch import nn

import ttreg
from ttreg.report import Report

Answer = TypeVar("Answer")
# What is being done, for a progress bar to show while the context is open.
Step = Callable[[str], AbstractContextManager[None]]

LEAST_SHARE = 0.95


def no_steps(_: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class Program(Generic[Answer]):
    """A piece of plain PyTorch code that knows nothing of ttreg, and what to call it."""

    label: str
    run: Callable[[], Answer]


class NetworkCalls(BaseModel):
    """Floating-point calls inside the networks' forward: on the device, and on the host."""

    device: int = 0
    host_float: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def share(self) -> float:
        return self.device / max(1, self.device + self.host_float)

    @contextmanager
    def counted(self, session: Any, networks: Sequence[nn.Module]) -> Iterator[None]:
        """Count while the context is open, leaving out what runs before, between and after the networks."""

        def add(sign: int) -> None:
            totals = session.report().totals
            self.device += sign * totals.device
            self.host_float += sign * totals.host_float

        def enter(*_: object) -> None:
            add(-1)

        def leave(*_: object) -> None:
            add(+1)

        with ExitStack() as hooks:
            for network in networks:
                hooks.enter_context(network.register_forward_pre_hook(enter))
                hooks.enter_context(network.register_forward_hook(leave))
            yield


class Figures(BaseModel):
    """What was measured beside the answers; the second pass has other inputs of the same sizes."""

    network: NetworkCalls = Field(default_factory=NetworkCalls)
    cpu_seconds: float
    device_seconds: float
    second_seconds: float
    second_weight_uploads: int
    report: Report


class Difference(BaseModel):
    what: str
    largest: float
    allowed: float


class Part(BaseModel):
    """One part of the demo: how far the device's answers are from the CPU's, and what they took."""

    name: str
    figures: Figures

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differences(self) -> list[Difference]:
        """The largest difference of each kind of answer, over both passes."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Everything that is not as it should be, a sentence each."""
        found = [
            f"{difference.what} differ by {difference.largest:.3g}, {difference.allowed:g} is allowed"
            for difference in self.differences
            if not difference.largest <= difference.allowed
        ]
        if self.figures.network.share < LEAST_SHARE:
            found.append(f"only {self.figures.network.share:.1%} of the networks' calls ran on the device")
        if self.figures.second_weight_uploads:
            found.append(f"the second pass uploaded {self.figures.second_weight_uploads} weights again")
        return found

    @computed_field  # type: ignore[prop-decorator]
    @property
    def agreed(self) -> bool:
        return not self.problems()

    def tables(self) -> list[Table]:
        """Both answers side by side."""
        raise NotImplementedError


def run_both(
    first: Sequence[Program[Answer]],
    second: Sequence[Program[Answer]],
    networks: Sequence[nn.Module],
    step: Step,
    **mode: Any,
) -> tuple[list[Answer], list[Answer], Figures]:
    """Run both passes on the plain CPU, then in one session; `second` has `first`'s sizes, other values."""

    def timed(programs: Sequence[Program[Answer]], where: str) -> tuple[list[Answer], float]:
        answers = []
        start = time.perf_counter()
        for program in programs:
            with step(f"{where}: {program.label}"):
                answers.append(program.run())
        return answers, time.perf_counter() - start

    cpu, cpu_seconds = timed(first, "plain CPU")
    cpu += timed(second, "plain CPU")[0]

    network = NetworkCalls()
    with ttreg.device_mode(**mode) as session, network.counted(session, networks):
        device, device_seconds = timed(first, "device")
        uploaded = session.report().transfers.weight_uploads
        again, second_seconds = timed(second, "device")
        uploaded_again = session.report().transfers.weight_uploads - uploaded
    return (
        cpu,
        device + again,
        Figures(
            network=network,
            cpu_seconds=cpu_seconds,
            device_seconds=device_seconds,
            second_seconds=second_seconds,
            second_weight_uploads=uploaded_again,
            report=session.report(),
        ),
    )
