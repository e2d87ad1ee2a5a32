"""Real ttnn on a chip: silicon, a simulator, or (with no values) a mocked chip."""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter
from types import ModuleType
from typing import Any

import torch

from ..costs.programs import CountedPrograms
from ..costs.recorder import Recorder
from ..errors import DeviceUnavailableError
from ..forks import new_rlock
from ..on_demand import on_device
from ..settings import Settings
from . import base
from .base import LostDevice, RefusedByDevice, Value, ttnn_dtype_name
from .weights import TtnnForms


def open_chip(settings: Settings, ttnn_version: str) -> Chip:
    """Open the chip that the settings name; raises DeviceUnavailableError with ttnn's reason."""
    return _opened("ttnn", settings.device_id, settings, ttnn_version)


def open_mock(settings: Settings, ttnn_version: str) -> Chip:
    """Open a mocked chip: ttnn's host side is real, and tensors have no values.

    A process has one mocked chip: raises DeviceUnavailableError if another arch is open.
    """
    from . import mock_chip

    mocked = _chips.get(("mock", 0))
    if mocked is None:
        os.environ.update(mock_chip.environment(settings.arch))
    elif mocked.arch != settings.arch:
        raise DeviceUnavailableError(f"this process has a mocked {mocked.arch}; use a process for each arch")
    return _opened("mock", 0, settings, ttnn_version)


def _opened(name: str, device_id: int, settings: Settings, ttnn_version: str) -> Chip:
    if _parents_chips:
        raise DeviceUnavailableError(
            "this process was forked from one that has a chip open through ttnn, which is of use to that one alone: "
            'start the process with multiprocessing\'s "spawn" or "forkserver" method, or use device="emulated" in it'
        )
    sizes = {"l1_small_size": settings.l1_small_size, "trace_region_size": settings.trace_region_size}
    chip = _chips.get((name, device_id))
    if chip is not None and chip.lost:
        chip.close()
        chip = None
    if chip is None:
        chip = _chips[name, device_id] = Chip(name, device_id, sizes, ttnn_version)
    elif chip.sizes != sizes:
        raise DeviceUnavailableError(f"chip {device_id} is open with {chip.sizes} in this process; asked for {sizes}")
    return chip


_chips: dict[tuple[str, int], Chip] = {}
_parents_chips: dict[tuple[str, int], Chip] = {}  # of the process that this one was forked from


def _forked() -> None:
    _parents_chips.update(_chips)
    _chips.clear()


os.register_at_fork(after_in_child=_forked)


# ttnn records each read in a queue of 8192, which nobody empties on a mocked chip, and waits forever once it is full.
# Of what lowerings call, `to_torch` reads once, and `conv2d` reads a kernel and a bias that it prepares. The rest of
# the queue is for what a program itself has ttnn read.
_MOST_READS_OF_A_MOCK = 7000

# What ttnn says once a call has taken longer than TT_METAL_OPERATION_TIMEOUT_SECONDS (without it, ttnn waits for ever),
# and its driver of a card that does not answer. Each is a RuntimeError.
_NO_ANSWER = ("TIMEOUT: device timeout", "potential hang detected", "is hung", "you should reset the board")

# What ttnn gives for its dtypes; float32 for block floats.
_READ_AS = {"bfloat16": torch.bfloat16, "int32": torch.int32, "uint32": torch.uint32, "uint8": torch.uint8}


class Chip:
    """A device behind real ttnn."""

    validated, chip_numerics = False, True

    def __init__(self, name: str, device_id: int, sizes: dict[str, int], ttnn_version: str):
        import ttnn

        self.name, self.sizes, self.ttnn_version = name, sizes, ttnn_version
        self.lock = new_rlock()
        self._closed = self.lost = False
        try:
            self._device = ttnn.open_device(device_id=device_id, **sizes)
        except RuntimeError as error:
            raise DeviceUnavailableError(f"ttnn cannot open chip {device_id}: {first_line(error)}") from error
        self._device.enable_program_cache()
        self.arch = str(self._device.arch()).rpartition(".")[2].lower()
        self.tt = TtnnApi(self._device) if name != "mock" else MockTtnnApi(self._device)
        self.weights = TtnnForms(self._device, refusal)
        self.programs = CountedPrograms(self._device.num_program_cache_entries)

    def upload(self, host: torch.Tensor, dtype: str, row_major: bool = False) -> Value:
        """See `Device.upload`."""
        plain = host.to(torch.uint8) if host.dtype is torch.bool else host
        plain = plain.contiguous() if dtype != "uint32" else plain.to(torch.int64).contiguous()
        layout = self.tt.ROW_MAJOR_LAYOUT if row_major else self.tt.TILE_LAYOUT
        return self.tt.from_torch(plain, dtype=getattr(self.tt, dtype), layout=layout, device=self._device)

    def download(self, value: Value) -> torch.Tensor:
        """See `Device.download`."""
        return self.tt.to_torch(value)

    def close(self) -> None:
        """Close the chip, unless it is closed already."""
        import ttnn

        if not self._closed:
            self._closed = True
            try:
                ttnn.close_device(self._device)
            except RuntimeError as error:
                if not self.lost:
                    raise
                raise DeviceUnavailableError(
                    f"the chip answered no more before, and cannot be closed: {first_line(error)}; reset the board "
                    "(tt-smi -r) and start the program anew"
                ) from error


class TtnnApi:
    """The ttnn module as lowerings see it: a refused call raises `RefusedByDevice` with ttnn's first line."""

    KeptWeights = base.KeptWeights

    def __init__(self, device: Any):
        self.device = device

    def conv2d(self, *, kept: base.KeptWeights, weight_tensor: Value, bias_tensor: Value | None, **call: Any) -> Value:
        """`ttnn.conv2d` with the kernel that an earlier call of the same form has prepared."""
        import ttnn

        convolve = guarded("conv2d", ttnn.conv2d)
        key = _form_of(call)
        found = kept.find(key, bias_tensor)
        if found is not None:
            return convolve(weight_tensor=found[0], bias_tensor=found[1], **call)
        weight, its_bias = self.to_prepare(on_device(weight_tensor), bias_tensor)
        result, prepared = convolve(weight_tensor=weight, bias_tensor=its_bias, return_weights_and_bias=True, **call)
        kept.keep(key, bias_tensor, prepared)
        return result

    def to_prepare(self, weight: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """The kernel and the bias that `ttnn.conv2d` is to prepare, which it first brings to the host."""
        return weight, bias

    def bare(self, name: str, kwargs: dict[str, Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
        """A call that has been made, as ttnn's own function and its keywords, with the kernel that it has prepared.

        It is to be made again only while `sees_calls` is false.
        """
        import ttnn

        if "kept" not in kwargs:
            return _innermost(attrgetter(name)(ttnn), kwargs), kwargs
        call = dict(kwargs)
        kept, bias = call.pop("kept"), call.pop("bias_tensor")
        del call["weight_tensor"]
        found = kept.find(_form_of(call), bias)
        if found is None:
            return attrgetter(name)(self), kwargs
        function = _innermost(attrgetter(name)(ttnn), kwargs)
        return function, {**call, "weight_tensor": found[0], "bias_tensor": found[1]}

    def sees_calls(self) -> bool:
        """Whether ttnn is to log, compare or trace each of its calls, which it does around its functions."""
        import ttnn

        config = ttnn.CONFIG
        is_slow = not config.enable_fast_runtime_mode or config.enable_comparison_mode or config.enable_logging
        return is_slow or ttnn.graph.is_python_io_recording_enabled()

    def counted(self, name: str, recorder: Recorder) -> Callable[..., Any] | None:
        """ttnn's function of this name, with its calls noted; None if this class has one in its place."""
        import ttnn

        function = getattr(ttnn, name, None)
        if function is None or hasattr(type(self), name):
            return None
        return guarded(name, function, recorder)

    def __getattr__(self, name: str) -> Any:
        import ttnn

        attribute = attrgetter(name)(ttnn)
        if isinstance(attribute, ModuleType):
            attribute = base.Namespace(self, name)
        elif callable(attribute) and not isinstance(attribute, type):
            attribute = guarded(name, attribute)
        setattr(self, name, attribute)
        return attribute


class MockTtnnApi(TtnnApi):
    """ttnn on a mocked chip, which can be read a limited number of times: after these, zeros come from the host.

    They are what ttnn itself reads from a mocked chip, which has no values.
    """

    def __init__(self, device: Any):
        super().__init__(device)
        self._reads = 0

    def to_torch(self, tensor: Value, *args: Any, **options: Any) -> torch.Tensor:
        """`ttnn.to_torch`."""
        import ttnn

        if self._may_read():
            return guarded("to_torch", ttnn.to_torch)(tensor, *args, **options)
        dtype = options.get("dtype") or _READ_AS.get(ttnn_dtype_name(tensor), torch.float32)
        return torch.zeros(tuple(tensor.shape), dtype=dtype)

    def to_prepare(self, weight: Value, bias: Value | None) -> tuple[Value, Value | None]:
        """As for any chip, or tensors of the host in their place, which `ttnn.conv2d` prepares as well."""
        if self._may_read(2):
            return weight, bias
        return self._on_host(weight), None if bias is None else self._on_host(bias)

    def _on_host(self, tensor: Value) -> Value:
        return self.from_torch(
            torch.zeros(tuple(tensor.shape), dtype=torch.float32), dtype=tensor.dtype, layout=tensor.layout
        )

    def _may_read(self, times: int = 1) -> bool:
        self._reads += times
        return self._reads <= _MOST_READS_OF_A_MOCK


def _innermost(function: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    """What a ttnn function calls once it has found that nobody wants to see the call."""
    from ttnn.decorators import FastOperation

    if not isinstance(function, FastOperation) or "queue_id" in kwargs or "cq_id" in kwargs:  # these are handled there
        return function
    return function.function


def _form_of(call: dict[str, Any]) -> tuple[Any, ...]:
    """What a prepared kernel depends on of a call. The sizes, in the order of the call, tell the image's shape too."""
    x = call["input_tensor"]
    return x.dtype, x.layout, call["dtype"], *[v for v in call.values() if type(v) is int or type(v) is tuple]


def guarded(name: str, function: Callable[..., Any], recorder: Recorder | None = None) -> Callable[..., Any]:
    """The ttnn function, which raises `RefusedByDevice` for refused calls; with a recorder, its calls are noted."""
    if recorder is not None:
        return _noted(name, function, recorder)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (RuntimeError, TypeError) as error:
            raise refusal(f"ttnn.{name}", error) from error

    return call


def _noted(name: str, function: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    # As guarded(), and Recorder.counted() around it, in one frame.
    note, look, inner = recorder.names.append, recorder.look, guarded(name, function)

    def call(*args: Any, **kwargs: Any) -> Any:
        note(name)
        if recorder.looking:
            return look(name, inner, args, kwargs)
        try:
            return function(*args, **kwargs)
        except (RuntimeError, TypeError) as error:
            return recorder.again(refusal(f"ttnn.{name}", error), inner, args, kwargs)

    return call


def refusal(call: str, error: BaseException) -> RefusedByDevice:
    """What an exception of ttnn comes to: a call that was refused, or a device that answers no more."""
    message = first_line(error)
    return (LostDevice if any(words in message for words in _NO_ANSWER) else RefusedByDevice)(call, message)


def first_line(error: BaseException) -> str:
    """ttnn's message without its backtrace: the condition, and the sentence under `info:` if there is one."""
    lines = [line.strip() for line in str(error).splitlines()]
    sentence = lines[lines.index("info:") + 1] if "info:" in lines[:-1] else ""
    return f"{sentence} ({lines[0]})" if sentence else lines[0] if lines else type(error).__name__
