"""Runs a program step after step, and tells what it and the process hold."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import ttreg

from .programs import OPTIONS, PROGRAMS, SETTINGS, State

_libc = ctypes.CDLL(None)


class Held(NamedTuple):
    """Bytes that the session knows of, of all values of the emulated device, and of the host's tensors; objects."""

    known: int
    device: int
    host: int
    objects: int


def steps(name: str, count: int) -> Iterator[State]:
    """The program's state after each of so many steps."""
    settings = dict(SETTINGS[name])
    settings.pop("only_long", None)
    outside = settings.pop("outside", False)
    gradients: Callable = torch.enable_grad if settings.pop("gradients", False) else torch.no_grad
    if settings.pop("inference", False):
        gradients = torch.inference_mode
    with ExitStack() as stack:
        stack.enter_context(gradients())
        with ExitStack() as block:
            state = State(block.enter_context(ttreg.device_mode(**OPTIONS, **settings)))
            if not outside:
                stack.push(block.pop_all())
        for i in range(count):
            PROGRAMS[name](state, i).sum().item()
            yield state


def held(session: ttreg.Session) -> Held:
    """What there is now."""
    gc.collect()
    objects = gc.get_objects()
    values = {id(value): value for cell in session.live() for value in cell.values.values()}
    for of_storage in session.uploads._storages.values():
        values |= {id(upload.value): upload.value for upload in of_storage.by_meta.values()}
    on_device = [o for o in objects if type(o).__name__ == "EmulatedTensor"]
    storages = {}
    for tensor in objects:
        if type(tensor) in (torch.Tensor, nn.Parameter) and tensor.layout is torch.strided:
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
    # In place of a weight that comes on demand there is a token; what is made of it counts among the device's.
    known = sum(value.data.nbytes for value in values.values() if type(value) is not object)
    return Held(known, sum(o.data.nbytes for o in on_device), sum(storages.values()), len(objects))


def resident() -> int:
    """Bytes of this process in memory, but for what the allocator could give back."""
    gc.collect()
    _libc.malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
