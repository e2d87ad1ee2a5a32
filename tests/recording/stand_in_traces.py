"""A device with traces: the emulated one, with ttnn's four functions for them, and their dangers.

What is called between begin and end is captured and not run. To execute a trace is to make these calls again with the
tensors that they were captured with, and to put the results where the captured ones were. All else that was made since
the capture is overwritten.
"""

from __future__ import annotations

import torch

from ttreg.devices.base import Namespace, RefusedByDevice
from ttreg.devices.emulated.device import EmulatedDevice
from ttreg.devices.emulated.tensor import EmulatedTensor


class Api:
    def __init__(self, tt, device, prefix=""):
        self._tt, self._device, self._prefix = tt, device, prefix

    def __getattr__(self, name):
        own = getattr(self._device, name, None) if not self._prefix else None
        if name in ("begin_trace_capture", "end_trace_capture", "execute_trace", "release_trace", "copy", "clone"):
            return own
        attribute = getattr(self._tt, name)
        if isinstance(attribute, Namespace):
            return Api(attribute, self._device, f"{name}.")
        if not callable(attribute) or isinstance(attribute, type) or name == "device":
            return attribute

        def call(*args, **kwargs):
            return self._device.called(attribute, args, kwargs)

        return call


class Tracing(EmulatedDevice):
    """The device. `log` says what was done with traces."""

    name = "ttnn"

    def __init__(self, settings, ttnn_version):
        super().__init__(settings, ttnn_version)
        self.tt = Api(self.tt, self)
        self.log, self.region = [], settings.trace_region_size
        self.capturing, self.traces, self.later = None, {}, []

    def called(self, function, args, kwargs):
        if self.capturing is None:
            made = function(*args, **kwargs)
            self.later += [value for value in _values(made) if not _is_among(value, args, kwargs)]
            return made
        made = function(*args, **kwargs)
        for value in _values(made):
            value.data = torch.zeros_like(value.data)  # nothing runs yet
        self.capturing.append((function, args, kwargs, made))
        return made

    def upload(self, host, dtype, row_major=False):
        assert self.capturing is None, "an upload within a capture"
        value = super().upload(host, dtype, row_major)
        self.later.append(value)
        return value

    def download(self, value):
        assert self.capturing is None, "a read within a capture"
        return super().download(value).clone()

    def clone(self, value):
        assert self.capturing is None
        return EmulatedTensor(value.data.clone(), value.dtype, value.layout)

    def copy(self, value, target):
        assert self.capturing is None
        assert (value.dtype, value.layout, value.shape) == (target.dtype, target.layout, target.shape)
        target.data.copy_(value.data)

    def begin_trace_capture(self, device, cq_id):
        assert self.capturing is None
        self.capturing, self.later = [], []
        return len(self.log)

    def end_trace_capture(self, device, trace, cq_id):
        captured, self.capturing = self.capturing, None
        self.log.append(f"capture of {len(captured)}")
        if 64 * len(captured) > self.region:
            raise RefusedByDevice("ttnn.end_trace_capture", f"{64 * len(captured)}B, only {self.region}B is allocated")
        self.traces[trace] = captured

    def execute_trace(self, device, trace, cq_id, blocking):
        for value in self.later:
            value.data = torch.full_like(value.data, 77)
        for function, args, kwargs, made in self.traces[trace]:
            for old, new in zip(_values(made), _values(function(*args, **kwargs)), strict=True):
                old.data.copy_(new.data)
        self.log.append("execute")

    def release_trace(self, device, trace):
        self.traces.pop(trace, None)
        self.log.append("release")


def _values(made):
    return [value for value in (made if isinstance(made, (list, tuple)) else [made]) if hasattr(value, "data")]


def _is_among(value, args, kwargs):
    return any(value is other for other in (*args, *kwargs.values()))
