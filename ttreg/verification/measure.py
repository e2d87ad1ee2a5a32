"""Measures a chip: runs every accepted sample of the entries in a worker process and compares it with the CPU."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from .. import devices
from ..blocks.mode import device_mode
from ..call import Call
from ..errors import DeviceError, DeviceUnavailableError, first_line
from ..meta import dtype_name
from ..notation import write_call
from ..pytorch_private import tree_leaves
from ..registry import Entry, registry
from ..samples import Sample
from ..settings import Settings
from .calls import Calls
from .sweep import DTYPES, sweeps, swept
from .trial import Trial, trial
from .values import Compared, Status, Values, compared
from .values_file import OF_VALUES, as_usual
from .verify import Verdict
from .workers import Lost, done

_OF_THE_CHIP = ("device_id", "l1_small_size", "trace_region_size")

# After this many samples in a row without a chip, the others are not tried.
_PATIENCE = 3


@dataclass(frozen=True)
class Task:
    """A sample of an entry, or the sweep of special values in a dtype."""

    op: str
    family: str
    sample: int | None
    dtype: str
    call: str

    @property
    def key(self) -> tuple[str, int | None, str, str]:
        """Identifies the same task in another run."""
        return self.op, self.sample, self.dtype, self.call


def tasks(patterns: Sequence[str] = (), special: bool = False) -> Iterator[Task]:
    """All samples and sweeps of the entries that the patterns name and that have a lowering, also refused samples."""
    for entry in registry.matching(patterns, "device"):
        for number, sample in enumerate(entry.samples()):
            yield Task(str(entry.op), entry.family, number, _dtype(entry, sample), written(entry, sample))
        for dtype in DTYPES if special else ():
            for inputs in sweeps(entry, dtype):
                yield Task(str(entry.op), entry.family, None, dtype_name(dtype), written(entry, inputs.sample))


def measure(
    todo: Sequence[Task], settings: dict[str, Any], limit: float, workers: int = 1, module: Path | None = None
) -> Iterator[Verdict]:
    """Yield a verdict on each task as it is done. `module` is a Python file that the worker processes run first.

    `settings` are keywords of `device_mode`; a task may take `limit` seconds.
    """
    without = 0  # tasks in a row for which there was no chip
    left = iter(todo)

    def while_there_is_a_chip() -> Iterator[Task]:
        while without < _PATIENCE and (task := next(left, None)) is not None:
            yield task

    error = ""
    for answer in done(_work, (settings, module), while_there_is_a_chip(), limit, workers):
        verdict = _lost(answer) if isinstance(answer, Lost) else answer[1]
        absent = verdict.values.status == "unavailable" if verdict.values is not None else False
        without, error = (without + 1, verdict.error) if absent else (0, "")
        yield verdict
    for task in left:
        yield _without_values(task, "unavailable", f"not tried: {error}")


def chosen(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that values or the chip depend on, from the keywords and the environment.

    Raises SettingsError for unknown ones.
    """
    found = asdict(Settings.resolve({**keywords, "device": "ttnn"}))
    return {name: value for name, value in found.items() if name in (*OF_VALUES, *_OF_THE_CHIP)}


def key_of(verdict: Verdict) -> tuple[str, int | None, str, str]:
    """The `key` of the task that the verdict is on."""
    assert verdict.values is not None
    return verdict.op, verdict.sample, verdict.values.dtype, verdict.values.call


def not_in(found: Collection[Verdict], wanted: Iterable[Task]) -> list[Task]:
    """The tasks that have no verdict yet."""
    have = set(map(key_of, found))
    return [task for task in wanted if task.key not in have]


def _work(connection: Connection, settings: dict[str, Any], module: Path | None) -> None:
    """Run in a worker process: answer each task with a verdict."""
    torch.set_num_threads(1)
    if module is not None:
        spec = importlib.util.spec_from_file_location(module.stem, module)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    entries = {str(entry.op): entry for entry in registry}
    with suppress(DeviceUnavailableError), _block(settings):  # each task says so, if there is none
        pass  # it is open from now on
    connection.send("ready")
    while True:
        task = connection.recv()
        connection.send(_verdict(task, entries[task.op], settings))


def _verdict(task: Task, entry: Entry, settings: dict[str, Any]) -> Verdict:
    start = time.monotonic()
    values = Values(call=task.call, dtype=task.dtype, status="ok")
    accepted, arch, error = True, "", ""
    try:
        inputs = next(sweeps(entry, getattr(torch, task.dtype))) if task.sample is None else None
        sample = inputs.sample if inputs is not None else next(islice(entry.samples(), task.sample, None))
        with _block(settings) as session:
            arch, calls = session.device.arch, Calls(session)
            result = trial(session, entry, sample)
            values.calls = calls.digest()
        # After the block, whose device would compare.
        accepted, error = result.refusal is None, _of_another_form(result)
        if accepted and not error and inputs is not None:
            values.sweep = swept(inputs, result.outputs[0], result.expected[0])
        elif not error:
            values.outputs = _compared(result)
        if error or any(not output.close for output in values.outputs):
            values.status = "differs"
    except Exception as raised:  # any error belongs to this sample, and the others are still measured
        values.status, error = _status(raised), f"{type(raised).__name__}: {first_line(raised)}"
    values.seconds = round(time.monotonic() - start, 3)
    return Verdict(
        op=task.op, family=task.family, arch=arch, sample=task.sample, accepted=accepted, error=error, values=values
    )


def _block(settings: Mapping[str, Any]) -> device_mode:
    return device_mode(**as_usual(**settings, device="ttnn"))


def _status(raised: Exception) -> Status:
    if (
        isinstance(raised, DeviceUnavailableError) or not devices.chip_present()
    ):  # the chip may have failed in the middle of a call
        return "unavailable"
    return "refused" if isinstance(raised, DeviceError) else "raised"


def _of_another_form(result: Trial) -> str:
    """How the outputs' metadata differ from the CPU's, if they do."""
    given, wanted = [o.meta for o in result.outputs], [o.meta for o in result.expected]
    if given == wanted:
        return ""
    return f"the results are {', '.join(map(str, given))}, the CPU's {', '.join(map(str, wanted))}"


def _compared(result: Trial) -> list[Compared]:
    return [compared(output, expected) for output, expected in zip(result.outputs, result.expected, strict=True)]


def _lost(lost: Lost) -> Verdict:
    status: Status = "hung" if lost.hung else "vanished" if lost.ready else "unavailable"
    why = lost.why if lost.ready else f"{lost.why} before it could begin"
    return _without_values(lost.task, status, why)


def _without_values(task: Task, status: Status, error: str) -> Verdict:
    values = Values(call=task.call, dtype=task.dtype, status=status)
    return Verdict(
        op=task.op, family=task.family, arch="", sample=task.sample, accepted=True, error=error, values=values
    )


def written(entry: Entry, sample: Sample) -> str:
    """The sample as the text of a call."""
    return write_call(Call.bind(entry.op, sample.args, sample.kwargs).arguments)


def _dtype(entry: Entry, sample: Sample) -> str:
    leaves = tree_leaves((sample.args, sample.kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    floating = [tensor for tensor in tensors if tensor.dtype.is_floating_point]
    asked = [leaf for leaf in leaves if isinstance(leaf, torch.dtype)]
    return dtype_name((*(t.dtype for t in (*floating, *tensors)), *asked, torch.get_default_dtype())[0])
