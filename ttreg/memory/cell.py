"""The storage that aliasing `DeviceTensor`s share: it knows where the truth is, on the device or on the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import torch

from ..carriers import Carriers
from ..devices.base import Device, Value
from ..forks import new_rlock
from ..meta import Meta, meta_of
from ..modes import without_any_modes
from .chains import ViewOf, is_better, to_make
from .inherited import not_here
from .padding import tiled
from .parts import apart, block
from .relayout import Route, route

# Each costs a download when the whole is asked for.
_MOST_PARTS = 8

# How many bytes the values of views may take beside a cell's own, and as a multiple of those. The last few are kept
# whatever they take: a program may go through all the rows of a tensor, which tiles make large, and of another view.
_VIEWS_NBYTES, _VIEWS_PER_ROOT, _FEW_VIEWS = 1 << 20, 4, 4


class Home(Protocol):
    """What a cell asks of the session whose device holds its values."""

    device: Device
    carriers: Carriers

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host."""
        ...

    def view_values(self, view: ViewOf, parent: Value) -> dict[Meta, Value]:
        """The device values of a view op's outputs, from that of its input."""
        ...

    def relaid(self, value: Value, source: Meta, target: Meta, way: Route) -> Value:
        """The device value of a view, from that of the whole storage."""
        ...


class Cell:
    """One storage, held on the device, on the host, on both, or (before anyone asked) only as a way to make it.

    `values` holds device values by the metadata they cover, all of the present content. While the host lacks it
    (`storage` is None), the value of `root`, whose metadata covers the whole storage, is among them; the others are
    views', derived and kept until the next write, or until newer ones need the room. After writes to `parts`, that of
    `root` is out of date: it is kept as `before`, and the host puts all together when someone asks for more than a
    part. A pinned cell stays on the host for good: someone may hold its memory (NumPy, DLPack, `data_ptr`, a plain
    tensor), so writes have to be made there.

    Threads may use one cell at once. What changes where the truth is holds the device's lock. A write, and a pin, puts
    a new dict in the place of `values`, so that what another thread is deriving of the content before lands in the old
    one, which no one asks any more.
    """

    # What a new cell starts with; of the class, since a cell is made for the result of every op.
    lazy: Callable[[], Value] | None = None
    before: Value | None = None
    parts: tuple[Meta, ...] = ()
    storage: torch.UntypedStorage | None = None
    _pinned = False
    _views: deque[tuple[tuple[Meta, ...], int]] | None = None  # whose values are kept, by the call that made them
    _views_nbytes = 0

    def __init__(self, home: Home | None, root: Meta, value: Value | None):
        self._home = home  # None once the cell needs none: it is pinned for good
        self._lock = home.device.lock if home is not None else new_rlock()
        self.root = root
        self.nbytes = root.nbytes
        self.values: dict[Meta, Value] = {} if value is None else {root: value}

    @classmethod
    def over(cls, plain: torch.Tensor) -> Cell:
        """A pinned cell over a plain tensor's memory."""
        cell = cls(None, meta_of(plain), None)
        cell.storage, cell._pinned = plain.untyped_storage(), True
        cell.nbytes = cell.storage.nbytes()
        return cell

    @property
    def home(self) -> Home:
        """The session whose device holds the values."""
        assert self._home is not None
        return self._home

    @property
    def pinned(self) -> bool:
        """Whether the memory has been given away, so that the truth stays on the host."""
        # PyTorch makes a storage unresizable as soon as NumPy shares it.
        storage = self.storage
        return self._pinned or (storage is not None and not storage.resizable())

    def host_view(self, meta: Meta) -> torch.Tensor:
        """A plain CPU tensor over the cell's memory, which is brought to the host first. Only to be read."""
        # The host's own tensor code must not be dispatched, whoever asks for the data.
        with without_any_modes():
            with self._lock:
                if self.storage is None:
                    self.storage = self._memory(self.home.download)
                    self.before, self.parts = None, ()
                storage = self.storage
            return meta.on_storage(storage)

    def peek(self, meta: Meta) -> torch.Tensor:
        """The same values, without bringing the cell to the host or counting a download. Only to be read at once."""
        with without_any_modes(), self._lock:
            kept = self.storage
            return meta.on_storage(self._memory(self.home.device.download) if kept is None else kept)

    def pin(self) -> None:
        """Keep the truth on the host from now on, since someone may read and write it there."""
        with self._lock:
            if not self._pinned:
                self.host_view(self.root)
                self._pinned = True
                self._replace_values({})

    def settle(self) -> None:
        """Pin the cell because its session ends, and let go of the session."""
        self.pin()
        self._home = None

    def forked(self) -> None:
        """In a forked process: stay with what the host holds, or raise DeviceError when someone asks for it."""
        self._parents = self.values  # kept, since the device is the parent's to free
        if self.storage is None:
            self.lazy = not_here
        else:
            self._pinned, self.values = True, {}

    def host_written(self) -> None:
        """Take note that the host wrote to the memory, and perhaps resized it."""
        with self._lock:
            if self.storage is not None:  # else another thread has since replaced the whole
                self.nbytes = self.storage.nbytes()
                self._replace_values({})

    def device_value(self, meta: Meta, view: ViewOf | None) -> Value | None:
        """The device value under `meta`, made from its parents' where need be; None if the device cannot make it."""
        self._compute_lazy()
        values, home = self.values, self._home
        if home is None:  # another thread has ended the session
            return None
        value = values.get(meta)
        if value is None and values:
            value = self._derived(meta, view, home)
        return value

    def _derived(self, meta: Meta, view: ViewOf | None, home: Home) -> Value | None:
        with self._lock:  # all of one content
            values, root, before, parts = self.values, self.root, self.before, self.parts
        if not values:  # another thread has taken the memory
            return None
        whole = values.get(root) if root.nbytes == self.nbytes else None
        if whole is not None:
            parts = ()
        elif before is not None:  # good for what sees no part that was written since
            whole = before

        def way_to(meta: Meta) -> Route | None:
            seen = whole is not None and all(apart(part, meta, root) for part in parts)
            return route(root, meta) if seen else None

        def by_way(meta: Meta, way: Route) -> Value:
            value = home.relaid(whole, root, meta, way)
            self.keep_views({meta: value}, values)
            return value

        way = way_to(meta)
        steps = to_make(meta, view, values.__contains__, way_to)
        if steps is None:
            return None if way is None else by_way(meta, way)
        parent = steps[-1][1].parent
        value = values.get(parent)
        first = way_to(parent) if value is None else None
        if way is not None and is_better(way, steps, first):
            return by_way(meta, way)
        if first is not None:
            value = by_way(parent, first)
        for meta, view in reversed(steps):
            made = home.view_values(view, value)
            if meta not in made:
                return None  # it could not be made, and is the host's from now on
            self.keep_views(made, values)
            value = made[meta]
        return value

    def keep_views(self, made: dict[Meta, Value], values: dict[Meta, Value]) -> None:
        """Keep what one call made of `values`, until the next write; the oldest give way to them."""
        with self._lock:
            if self.values is not values:  # another thread has written, or taken the memory
                return
            values.update(made)
            nbytes = sum(tiled(meta.shape, meta.dtype) for meta in made)
            self._views = self._views or deque()
            self._views.append((tuple(made), nbytes))
            self._views_nbytes += nbytes
            most = max(_VIEWS_PER_ROOT * tiled(self.root.shape, self.root.dtype), _VIEWS_NBYTES)
            while self._views_nbytes > most and len(self._views) > _FEW_VIEWS:
                dropped, nbytes = self._views.popleft()
                self._views_nbytes -= nbytes
                for meta in dropped:
                    if meta is not self.root and meta not in self.parts:
                        values.pop(meta, None)

    def may_write(self, meta: Meta, a_part: bool) -> bool:
        """Whether the device may write under `meta` still: another thread can have pinned or resized the memory."""
        return not self.pinned and (a_part or meta.covers(self.nbytes))

    def device_write(self, meta: Meta, value: Value) -> None:
        """Replace the whole content by a device value, where that may be written; the caller holds the lock."""
        assert self.may_write(meta, False)
        self.lazy = None
        self.root, self.storage = meta, None
        self._replace_values({meta: value})
        self.before, self.parts = None, ()

    def takes_part(self, meta: Meta) -> bool:
        """Whether the device can write to this part of the content: a block of what the host has not seen."""
        self._compute_lazy()
        return (
            self.storage is None
            and self.root.covers(self.nbytes)
            and block(meta, self.root) is not None
            and len(self.parts) < _MOST_PARTS
            and all(part is meta or apart(part, meta, self.root) for part in self.parts)
        )

    def device_write_part(self, meta: Meta, value: Value) -> None:
        """Replace a part that the cell takes by a device value."""
        with without_any_modes(), self._lock:
            # By now an argument of the op may have come by way of the host, or another thread have written a part.
            if self.storage is not None or not self.takes_part(meta):
                self.host_view(meta).copy_(self.home.download(value))
            else:
                self.before = self.before if self.parts else self.values[self.root]
                self.parts = (*(part for part in self.parts if part is not meta), meta)
            kept = {k: v for k, v in list(self.values.items()) if apart(k, meta, self.root)}
            self.values = {**kept, meta: value}

    def _replace_values(self, values: dict[Meta, Value]) -> None:
        self.values = values
        if self._views:
            self._views, self._views_nbytes = None, 0

    def _memory(self, download: Callable[[Value], torch.Tensor]) -> torch.UntypedStorage:
        self._compute_lazy()
        storage = torch.UntypedStorage(self.nbytes)
        whole = self.values[self.root] if self.before is None else self.before
        self.root.on_storage(storage).copy_(download(whole))
        for part in self.parts:
            part.on_storage(storage).copy_(download(self.values[part]))
        return storage

    def _compute_lazy(self) -> None:
        if self.lazy is not None:
            with self._lock:
                if self.lazy is not None:  # still: another thread may have computed it
                    self.values[self.root] = self.lazy()
                    self.lazy = None
