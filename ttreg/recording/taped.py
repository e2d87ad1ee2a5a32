"""What stands in a session's place of `tt` and of its uploads while a call is recorded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

import torch

from ..costs.recorder import CountedApi
from ..devices.base import Namespace, Value
from ..memory import reads
from ..memory.tensor import DeviceTensor
from ..memory.uploads import Uploads, is_parameter
from ..runtime.api import Api, ExactApi
from ..runtime.session import Session
from ..runtime.values import Move, Values
from .numbers import lowered
from .steps import fresh_upload_step, indices_step, new_value, upload_step
from .tape import Tape


class TapedApi:
    """A session's ttnn functions, whose calls go on a tape. A replay calls the device's own functions."""

    def __init__(self, counted: Any, plain: Any, tape: Tape, prefix: str = ""):
        self._counted, self._plain, self._tape, self._prefix = counted, plain, tape, prefix

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._counted, name)
        path = f"{self._prefix}{name}"
        if isinstance(attribute, (CountedApi, Namespace)):
            attribute = TapedApi(attribute, self._plain, self._tape, f"{path}.")
        elif name != "device" and callable(attribute) and not isinstance(attribute, type):
            attribute = self._taped(attribute, path)
        setattr(self, name, attribute)
        return attribute

    def _taped(self, counted: Callable[..., Any], path: str) -> Callable[..., Any]:
        tape, plain = self._tape, attrgetter(path)(self._plain)
        bare = getattr(self._plain, "bare", None)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = counted(*args, **kwargs)
            if tape.on():
                function, given = plain, kwargs
                if bare is not None and all(map(tape.is_constant, _kernel(kwargs))):
                    function, given = bare(path, kwargs)
                    tape.constant(list(_kernel(given)))
                tape.called(function, args, given, result)
            return result

        return call


def _kernel(kwargs: dict[str, Any]) -> Iterator[Any]:
    """What a convolution takes besides its images."""
    if "weight_tensor" in kwargs:
        yield from (kwargs[name] for name in ("weight_tensor", "bias_tensor", "kept") if kwargs.get(name) is not None)


class _Taped(Api):
    """An `Api` whose kept values are constants of the recording, or made within it."""

    tape: Tape

    def once(self, make: Callable[[Api], Any]) -> Any:
        with self.tape.paused():
            made = super().once(make)
        if self.tape.on():
            self.tape.constant(made)
        return made

    def prepared(self, value: Value, key: Hashable, make: Callable[[], Any], beside: tuple = ()) -> Any:
        return self._prepared(partial(super().prepared, value, key, make, beside), make, (value, *beside))

    def derived(self, values: Sequence[Value], key: Hashable, nbytes: int, make: Callable[[], Value]) -> Value:
        return self._prepared(partial(super().derived, values, key, nbytes, make), make, tuple(values))

    def split(self, value: Value, key: Hashable, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        return self._prepared(partial(super().split, value, key, nbytes, make), make, (value,))

    def _prepared(self, keep: Callable[[], Any], make: Callable[[], Any], sources: tuple) -> Any:
        tape = self.tape
        if not tape.on():
            return keep()
        if all(map(tape.is_constant, sources)):
            with tape.paused():
                made = keep()
            tape.constant(made)
        else:
            made = make()
            if isinstance(make, type):
                tape.object(made, make)
        return made

    def constant(self, tensor: torch.Tensor, result: bool = False) -> Value:
        with self.tape.paused():
            value = super().constant(tensor, result)
        if self.tape.on():
            self.tape.constant(value)
        return value


class _TapedExact(_Taped, ExactApi):
    """The same under float32="exact"."""


class _TapedUploads:
    """A session's uploads. What an op makes of kept values alone is a constant of the recording."""

    def __init__(self, uploads: Uploads, api: _Taped):
        self._uploads, self._api = uploads, api

    def derive(self, values: Sequence[Value], key: Hashable, nbytes: int, make: Callable[[], Value]) -> Value:
        """As `Uploads.derive`."""
        keep = partial(self._uploads.derive, values, key, nbytes, make)
        return self._api._prepared(keep, make, tuple(values))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._uploads, name)


@contextmanager
def taped(session: Session, tape: Tape) -> Iterator[None]:
    """Let the tape see what this thread does in the session."""
    own = session.tt
    kind = _TapedExact if isinstance(own, ExactApi) else _Taped
    api: Any = TapedApi(own._ttnn, session.device.tt, tape)
    tt = kind(api, session.carriers, session.uploads, session._constant, session.ledger.converted, own.attention)
    tt.tape, tt._made = tape, own._made
    stands_in = {
        "tt": tt,
        "uploads": _TapedUploads(session.uploads, tt),
        "_uploaded": partial(_uploaded, session, tape),
        "_upload": partial(_upload, session, tape),
        "indices": partial(_indices, session, tape),
        "on_demand": partial(_on_demand, session, tape),
        "lower": partial(lowered, session, tape),
    }
    before = {name: session.__dict__[name] for name in stands_in if name in session.__dict__}
    session.__dict__.update(stands_in)
    reads.of_thread.reader = tape
    try:
        yield
    finally:
        reads.of_thread.reader = None
        for name in stands_in:
            del session.__dict__[name]
        session.__dict__.update(before)
        tape.end()


def _uploaded(
    session: Session,
    tape: Tape,
    plain: torch.Tensor,
    dtype: torch.dtype,
    carrier: str,
    row_major: bool = False,
    shared: bool = True,
    bits: int = 0,
) -> Value:
    if not tape.on():
        return Values._uploaded(session, plain, dtype, carrier, row_major, shared, bits)
    make = partial(new_value, session, plain, dtype, carrier, row_major, is_parameter(plain), bits)
    more = (dtype, carrier, row_major, shared, bits)
    steps = upload_step(session), fresh_upload_step(session)
    return tape.uploaded(plain, (dtype, carrier, row_major, bits), make, steps, more)


def _upload(
    session: Session,
    tape: Tape,
    plain: torch.Tensor,
    carrier: str,
    weight: bool,
    row_major: bool = False,
    move: Move | None = None,
) -> Value:
    if move is not None or not tape.on():  # weights that lie in files are no part of what is replayed
        return Values._upload(session, plain, carrier, weight, row_major, move)
    step = partial(Values._upload, session)
    make = partial(step, plain, carrier, weight, row_major)
    word = tape.plain(plain)
    with tape.paused():
        value = make()
    if tape.on():
        tape.bind(value, tape.made(step, word, carrier, weight, row_major, same="upload"))
    return value


def _on_demand(
    session: Session,
    tape: Tape,
    tensor: torch.Tensor,
    promote_to: torch.dtype | None,
    row_major: bool,
    exact: bool,
    bits: int,
) -> Any:
    if not tape.on() or (type(tensor) is DeviceTensor and session.holds(tensor)):
        return Session.on_demand(session, tensor, promote_to, row_major, exact, bits)
    external = None if isinstance(tensor, DeviceTensor) else tape.stays(tensor)
    if external is None:  # what is made of the weight changes with it
        return session.value(tensor, promote_to, row_major, exact=exact, bits=bits)
    tape.keep_constant(external)
    with tape.paused():
        value = Session.on_demand(session, tensor, promote_to, row_major, exact, bits)
    tape.constant(value.source)
    return replace(value, bring=partial(_brought, tape, value.bring))


def _brought(tape: Tape, bring: Callable[[], Value]) -> Value:
    """A weight that is on the device only while something is made of it, at a recording or at a replay."""
    with tape.paused():
        value = bring()
    if tape.on():
        tape.constant(value)
    return value


def _indices(
    session: Session,
    tape: Tape,
    argument: Any,
    ready: Callable[[Any], torch.Tensor | None],
    row_major: bool = False,
    carrier: str = "uint32",
) -> Any:
    if not tape.on():
        return Values.indices(session, argument, ready, row_major, carrier)
    is_list = isinstance(argument, (list, tuple))
    if tape.are_fixed([tensor for tensor in (argument if is_list else [argument]) if tensor is not None]):
        with tape.paused():
            value = Values.indices(session, argument, ready, row_major, carrier)
        if value is not None:
            tape.constant(value)
        return value
    for tensor in argument if is_list else [argument]:
        tape.for_host(tensor)
    plain: Any = [None if t is None else session.read(t) for t in argument] if is_list else session.read(argument)
    words: Any = [None if t is None else tape.plain(t) for t in plain] if is_list else tape.plain(plain)
    with tape.paused():
        found = ready(plain)
        if found is not None:
            dtype = torch.float32 if carrier == "float32" else torch.int64
            value = new_value(session, found, dtype, carrier, row_major, False, 0)
    if found is None:
        tape.fail("an index is out of bounds")
        return None
    if tape.on():
        step = indices_step(session, ready, row_major, carrier)
        tape.bind(value, tape.made(step, words, same=(repr(ready), row_major, carrier)))  # `ready` is a partial
    return value
