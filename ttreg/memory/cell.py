"""The storage that aliasing `DeviceTensor`s share. It knows where the current data is: on the device or the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..devices.base import Value
from ..forks import new_rlock
from ..images import Image, ImageLayout, image_layout
from ..meta import Meta, meta_of
from ..modes import without_any_modes
from . import heads
from .chains import ViewOf, is_better, to_make
from .home import Home
from .in_longer import read_in_longer, value_in_longer
from .padding import held_by
from .parts import apart, stays_apart
from .placing import placing
from .relayout import Route

# The values of views may take this many bytes, or this multiple of the cell's own. The last few are kept whatever their
# size: a program may go through all rows of a tensor while it uses another view, and padding makes each row large.
_VIEWS_NBYTES, _VIEWS_PER_ROOT, _FEW_VIEWS = 1 << 20, 4, 4


class Cell:
    """One storage: on the device, on the host, or on both. A lazy one is only a function until its data is needed.

    `values` maps metadata to device values, all of the present content. `root` is the metadata that covers the whole
    storage; while the data is not on the host (`storage` is None), `values` has the value of `root`. Values of views
    are derived from it, and kept until the next write or until newer ones need the room. After a write to one of
    `parts`, the value of `root` is out of date and is kept as `before`, into which the parts are put when someone needs
    more than one of them. A pinned cell stays on the host for good: NumPy, DLPack, `data_ptr` or a plain tensor may
    hold its memory, so writes have to reach it. Of content that is held as an image, `image` tells: then `root` has the
    channels last, and the value of a `folded` one is under `image` itself, as no metadata has its shape.

    Threads may share a cell. Code that moves the data holds the device's lock. A write or a pin replaces the dict
    `values`. So a value that another thread derives from the old content goes into the old dict, which is not read.
    An interrupt may come at any call, so that what belongs together is set without one in between.
    """

    # Defaults of a new cell. They are class attributes: every op's result makes a cell, and setting them costs time.
    lazy: Callable[[], Value] | None = None
    before: Value | None = None
    parts: tuple[Meta, ...] = ()
    storage: torch.UntypedStorage | None = None
    image: ImageLayout | None = None  # of content that is held as an image
    folded = False
    appended: int | None = None  # the dimension along which the content of a tensor that grows was put together
    longer: Cell | None = None  # begins with this content along each dimension; if `appended`, zeros are behind it
    _pinned = False
    _views: deque[tuple[tuple[Meta, ...], int]] | None = None  # the views with kept values, by the call that made them
    _views_nbytes = 0
    maker: Any = None  # the plan of the call that made it

    def __init__(self, home: Home | None, root: Meta, value: Value | None):
        self._home = home  # None once the session has ended and the cell is pinned
        self._lock = home.device.lock if home is not None else new_rlock()
        self.root, self.nbytes = root, root.nbytes
        self.values: dict[Meta | ImageLayout, Value] = {} if value is None else {root: value}

    @classmethod
    def over(cls, plain: torch.Tensor) -> Cell:
        """A pinned cell over a plain tensor's memory."""
        cell = cls(None, meta_of(plain), None)
        cell.storage, cell._pinned = plain.untyped_storage(), True
        cell.nbytes = cell.storage.nbytes()
        return cell

    def hold_image(self, meta: Meta, image: Image) -> None:
        """Hold the whole content, which has the metadata `meta`, as an image."""
        layout: Any = image_layout(meta)
        self.root, self.image, self.folded = layout.last, layout, image.folded
        self.values, self.longer, self.lazy = {layout if image.folded else layout.last: image.value}, None, None
        self.storage, self.before, self.parts, self._views, self._views_nbytes = None, None, (), None, 0

    @property
    def whole(self) -> Meta | ImageLayout:
        """Under what `values` has the value of the whole storage."""
        return self.image if self.folded and self.image is not None else self.root

    @property
    def home(self) -> Home:
        """The session whose device holds the values."""
        assert self._home is not None
        return self._home

    @property
    def pinned(self) -> bool:
        """Whether code outside ttreg may hold the memory, so that the data stays on the host."""
        # PyTorch makes a storage unresizable as soon as NumPy shares it.
        storage = self.storage
        return self._pinned or (storage is not None and not storage.resizable())

    def host_view(self, meta: Meta) -> torch.Tensor:
        """A plain CPU tensor over the cell's memory, which is brought to the host first. Only to be read."""
        # The tensor code below works on the host: no mode may dispatch it, wherever this is called.
        with without_any_modes():
            with self._lock:
                if self.storage is None:
                    self.storage, self.before, self.parts = self._memory(self.home.download), None, ()
                storage = self.storage
            return meta.on_storage(storage)

    def peek(self, meta: Meta) -> torch.Tensor:
        """As `host_view`, but the cell stays where it is and no download is counted. Only to be read at once."""
        with without_any_modes(), self._lock:
            kept = self.storage
            return meta.on_storage(self._memory(self.home.fetch) if kept is None else kept)

    def pin(self) -> None:
        """Keep the data on the host from now on, since other code may read and write it there."""
        with self._lock:
            if not self._pinned:
                self.host_view(self.root)
                self._replace_values({})
                self._pinned = True

    def settle(self) -> None:
        """Pin the cell because its session ends, and let go of the session."""
        self.pin()
        self._home = None

    def host_written(self) -> None:
        """Note that the host wrote to the memory, and perhaps resized it."""
        with self._lock:
            if self.storage is not None:  # else another thread has since replaced the whole
                self.nbytes = self.storage.nbytes()
                self._replace_values({})

    def device_value(self, meta: Meta, view: ViewOf | None) -> Value | None:
        """The device value for `meta`, derived from its parents if need be; None if the device cannot make it."""
        if self.lazy is not None and (value := value_in_longer(self, meta)) is not None:
            return value
        self._compute_lazy()
        values, home = self.values, self._home
        if home is None:  # another thread has ended the session
            return None
        value = values.get(meta)
        if value is None and values:
            value = self._derived(meta, view, home)
            if value is None and self.parts and self._put_parts():
                value = self.device_value(meta, view)
        return value

    def _derived(self, meta: Meta, view: ViewOf | None, home: Home) -> Value | None:
        with self._lock:  # so that all of these belong to the same content
            values, root, before, parts, under = self.values, self.root, self.before, self.parts, self.whole
        if not values:
            return None  # another thread has moved the data to the host
        whole = values.get(under) if root.nbytes == self.nbytes else None
        if whole is not None:
            parts = ()
        elif before is not None:  # still valid for views that overlap no written part
            whole = before

        def way_to(meta: Meta) -> Route | None:
            seen = whole is not None and all(apart(part, meta, root) for part in parts)
            return heads.way_to(root, meta, under.shape, bool(parts)) if seen else None

        def by_way(meta: Meta, way: Route) -> Value | None:
            made = home.relaid(whole, root, meta, way)
            self.keep_views(made, values)
            return made.get(meta)

        way = way_to(meta)
        if way is not None and way.views:
            return by_way(meta, way)
        steps = to_make(meta, view, values.__contains__, way_to)
        if steps is None:
            return None if way is None else by_way(meta, way)
        parent = steps[-1][1].parent
        value = values.get(parent)
        first = way_to(parent) if value is None else None
        if way is not None and is_better(way, steps, first):
            return by_way(meta, way)
        value = by_way(parent, first) if first is not None else value
        if value is None:
            return None
        for meta, view in reversed(steps):
            made = home.view_values(view, value)
            if meta not in made:
                return None  # the device could not make it, so from now on the host does
            self.keep_views(made, values)
            value = made[meta]
        return value

    def keep_views(self, made: Mapping[Meta, Value], values: dict[Meta | ImageLayout, Value]) -> None:
        """Keep the values that one call derived from `values` until the next write; drop the oldest to make room."""
        with self._lock:
            if self.values is not values:  # another thread has written, or moved the data to the host
                return
            values.update(made)  # type: ignore[arg-type]
            self._views = self._views or deque()
            self._views.append((tuple(made), nbytes := sum(held_by(meta) for meta in made)))
            self._views_nbytes += nbytes
            most = max(_VIEWS_PER_ROOT * held_by(self.root), _VIEWS_NBYTES)
            while self._views_nbytes > most and len(self._views) > _FEW_VIEWS:
                dropped, nbytes = self._views.popleft()
                self._views_nbytes -= nbytes
                for meta in set(dropped) - {self.whole, *self.parts}:
                    values.pop(meta, None)

    def may_write(self, meta: Meta, a_part: bool) -> bool:
        """Whether the device may still write to `meta`: another thread may have pinned or resized the memory."""
        return not self.pinned and (a_part or meta.covers(self.nbytes))

    def device_write(self, meta: Meta, value: Value) -> None:
        """Replace the whole content by a device value, where that may be written; the caller holds the lock."""
        assert self.may_write(meta, False)
        if isinstance(value, Image):
            self.hold_image(meta, value)
        else:
            self.root, self.image, self.values, self.longer, self.lazy = meta, None, {meta: value}, None, None
            self.storage, self.before, self.parts, self._views, self._views_nbytes = None, None, (), None, 0

    def hold_in_order(self) -> None:
        """Hold the content under the tensor's own metadata, so that parts can be written; not as an image."""
        with self._lock:
            layout = self.image
            value = None if layout is None or self.storage is not None else self.device_value(layout.tensor, None)
            if layout is not None and value is not None:
                self.root, self.image = layout.tensor, None
                self._replace_values({layout.tensor: value})

    def takes_part(self, meta: Meta) -> bool:
        """Whether the device can write to this part: it has the rest, and a place for the part."""
        self._compute_lazy()
        self.hold_in_order()
        held = self.storage is None or (not self.pinned and self.root in self.values)
        return held and self.image is None and self.root.covers(self.nbytes) and placing(self.root, meta) is not None

    def _put_parts(self) -> bool:
        """Put the parts that are kept into the whole; whether the device could."""
        with self._lock:
            if self.before is None:
                return self.root in self.values
            whole: Value | None = self.before
            for part in self.parts:
                whole = self.home.put(whole, self.root, self.values[part], part)
                if whole is None:
                    return False
            self.values[self.root] = whole
            self.before, self.parts = None, ()
            return True

    def device_write_part(self, meta: Meta, value: Value) -> None:
        """Replace one part by a device value; see `takes_part`."""
        with without_any_modes(), self._lock:
            takes = self.takes_part(meta)
            if takes and stays_apart(meta, self.parts, self.root):
                kept = {k: v for k, v in list(self.values.items()) if isinstance(k, Meta) and apart(k, meta, self.root)}
                self.before = self.before if self.parts else self.values[self.root]
                self.parts = (*(part for part in self.parts if part is not meta), meta)
                self.storage, self.longer, self.values = None, None, kept | {meta: value}  # type: ignore[assignment]
                return
            may_put = takes and self._put_parts()
            whole = self.home.put(self.values[self.root], self.root, value, meta) if may_put else None
            if whole is None:
                plain, written = self.host_view(meta), self.home.download(value)
                self._replace_values({})  # before the write, after which they would be out of date
                plain.copy_(written)
            else:
                self.storage = None
                self._replace_values({self.root: whole})
                self.keep_views({meta: value}, self.values)

    def _replace_values(self, values: dict[Meta | ImageLayout, Value]) -> None:
        self.values, self.longer, self.lazy = values, None, None
        if not values and self.image is not None:  # the host has the data, in the order of its memory
            self.root, self.image = self.image.tensor, None
        if self._views:
            self._views, self._views_nbytes = None, 0

    def _memory(self, download: Callable[[Value], torch.Tensor]) -> torch.UntypedStorage:
        storage = torch.UntypedStorage(self.nbytes)
        if self.lazy is not None and read_in_longer(self, storage, download):
            return storage
        self._compute_lazy()
        whole = download(self.values[self.whole] if self.before is None else self.before)
        self.root.on_storage(storage).copy_(whole if self.image is None else whole.view(self.root.shape))
        for part in self.parts:
            part.on_storage(storage).copy_(download(self.values[part]))
        return storage

    def _compute_lazy(self) -> None:
        if self.lazy is not None:
            with self._lock:
                if self.lazy is not None:  # asked again under the lock: another thread may have computed it
                    self.values[self.root] = self.lazy()
                    self.lazy = None
