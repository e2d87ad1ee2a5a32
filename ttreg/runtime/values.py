"""Finds, uploads, casts and downloads the device values of a session's tensors."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import torch

from ..carriers import EXACT, Carriers
from ..costs.programs import Programs
from ..costs.recorder import CountedApi, Recorder
from ..devices.base import Device, RefusedByDevice, Value
from ..images import Image, image_layout, rows, to_last, unfolded
from ..memory.chains import ViewOf
from ..memory.padding import TILE
from ..memory.tensor import DeviceTensor
from ..memory.uploads import Uploads, is_parameter
from ..memory.watch import uploading
from ..meta import Meta, is_plain, meta_of
from ..plan import Plan
from ..progress import activity
from ..refusal import REBUILT, Refusal
from ..settings import Settings
from .api import Api, ExactApi
from .block_floats import block_float_of
from .complaints import complain
from .int64 import TooLarge, fits_int32
from .ledger import Ledger
from .refused import raise_error
from .weights import Weights, brought

Move = Callable[[], Value]


class Values:
    """The part of a session that finds or makes the device values of tensors."""

    _recorder: type[Recorder] = Recorder  # of which the session has one
    may_lead = True  # whether values may have more leading dimensions of 1 than their tensors; see `leading`
    may_wait = True  # whether calls may wait for those that need them; see `waiting`

    def __init__(self, settings: Settings, device: Device, sees_all_writes: bool):
        self.settings, self.device = settings, device
        self.carriers, self.uploads = Carriers(settings.precision), Uploads(sees_all_writes)
        self.ledger, self.weights = Ledger(), Weights(settings)
        chip_numerics = getattr(device, "chip_numerics", False)  # a device of someone's own may not say
        # The emulated device computes exactly anyway. With `validate`, it makes the ttnn calls that a chip would get.
        self.exact = settings.float32 == "exact" and (chip_numerics or device.validated)
        self.rounds_weights = settings.float32 == "fast" and chip_numerics
        self.recorder = self._recorder(getattr(device, "programs", None) or Programs(), self.held)
        programs = None if self.recorder.programs.estimated else self.recorder.new_programs
        self.activity = activity(settings.progress, self.ledger, programs)
        api = ExactApi if self.exact else Api
        ttnn = CountedApi(getattr(device, "tt", None), self.recorder)  # nothing runs on a device that has none
        attention = settings.attention_in_lowerings
        self.tt = api(ttnn, self.carriers, self.uploads, self._constant, self.ledger.converted, attention)
        # For each storage, the plan of the fallback that made its content from downloaded tensors.
        self._made_by: dict[int, tuple[Plan, weakref.ref[torch.UntypedStorage]]] = {}

    def holds(self, tensor: DeviceTensor) -> bool:
        """Whether the session can use and replace the tensor's device value.

        It cannot if the tensor is pinned, or belongs to a session on another device or with another precision.
        """
        cell = tensor._cell
        home: Any = cell._home  # another thread may pin the cell, and end its session
        if home is None or cell.pinned:
            return False
        return home is self or (home.device is self.device and home.carriers.narrow == self.carriers.narrow)

    def value(
        self,
        tensor: torch.Tensor,
        promote_to: torch.dtype | None = None,
        row_major: bool = False,
        block_float: bool = False,
        exact: bool = False,
        bits: int = 0,
    ) -> Value:
        """The device value of any tensor, uploaded if need be, and cast to `promote_to` if that is given.

        With `block_float`, a parameter arrives in the block float that the user chose. With `exact`, an upload is not
        narrowed. With `bits`, a float32 parameter is rounded to so many bits. Raises TooLarge for int64 values that
        the device cannot carry: the host may have written such values.
        """
        dtype = promote_to or tensor.dtype
        carrier = (EXACT if exact else self.carriers)[dtype]
        if type(tensor) is DeviceTensor:
            held = tensor._cell.values  # taken first: another thread may write to the tensor meanwhile
        if not (type(tensor) is DeviceTensor and self.holds(tensor)):
            plain = self.read(tensor)
            if block_float:
                carrier = block_float_of(plain) or carrier
            return self._uploaded(plain, dtype, carrier, row_major, bits=bits if self._rounds(plain, carrier) else 0)
        cell, meta = tensor._cell, tensor._meta
        value = cell.device_value(meta, tensor._view)
        if value is None:
            view: ViewOf | None = tensor._view
            if view is not None and held:
                refusal = next((v.plan.refusal for v in view.chain() if v.plan.refusal is not None), REBUILT)
                self.fell_back(view.plan.op, refusal, meta.dtype.is_floating_point, lambda: str(meta))
            plain = cell.host_view(meta)
            if meta.dtype is torch.int64 and dtype is not torch.int64:  # the values may be too large for int32
                return self._uploaded(plain, dtype, carrier, row_major)
            value = self._upload(plain, self.carriers[meta.dtype], False)
            cell.keep_views({meta: value}, held)
        if carrier == self.carriers[meta.dtype] and not row_major:
            return value
        return self._convert((meta, carrier, row_major), self._converted, value, meta, carrier, row_major)

    def _rounds(self, plain: torch.Tensor, carrier: str) -> bool:
        return self.rounds_weights and carrier == "float32" and plain.dtype is torch.float32 and is_parameter(plain)

    def _convert(self, key: Hashable, function: Callable[..., Value], *args: Any) -> Value:
        """What the function makes of a value; `key` tells its ttnn calls apart from those of others."""
        with self.device.lock:
            return self.recorder.run(self.recorder.work("conversions", key), function, *args)

    def _converted(self, value: Value, meta: Meta, carrier: str, row_major: bool) -> Value:
        if carrier != self.carriers[meta.dtype]:
            value = self.tt.typecast(value, getattr(self.tt, carrier))
        return self.tt.to_layout(value, self.tt.ROW_MAJOR_LAYOUT) if row_major else value

    def held(self) -> int:
        """About how many bytes of the device's memory the session holds."""
        raise NotImplementedError

    def image(
        self,
        tensor: torch.Tensor,
        promote_to: torch.dtype | None = None,
        exact: bool = False,
        bits: int = 0,
        folded: bool | None = None,
    ) -> Image:
        """The device value of a tensor (N, C, ...) as an image, folded or not as it is held, or as `folded` says."""
        dtype = promote_to or tensor.dtype
        carrier = (EXACT if exact else self.carriers)[dtype]
        shape, is_folded = tuple(tensor.shape), False
        if type(tensor) is DeviceTensor and self.holds(tensor):
            value, is_folded = self._held_image(tensor, folded)
            carried = self.carriers[tensor.dtype]
        else:
            plain = self.read(tensor)
            if is_parameter(plain):
                value = self.value(plain, promote_to, exact=exact, bits=bits)
                with self.device.lock:
                    value = self.tt.prepared(value, "channels last", partial(self._turned, value, meta_of(plain)))
            else:
                thin = folded is None and shape[1] < TILE  # in tiles such rows are mostly padding
                value = self._uploaded(plain.permute(to_last(len(shape))), dtype, carrier, row_major=thin)
            carried = carrier
        if carrier != carried:
            key = (shape, carried, carrier, is_folded)
            value = self._convert(key, self.tt.typecast, value, getattr(self.tt, carrier))
        if folded is not None and folded != is_folded:
            wanted = list(rows(shape) if folded else unfolded(shape))
            return Image(self._convert((shape, carrier, folded), self.tt.reshape, value, wanted), shape, folded)
        return Image(value, shape, is_folded)

    def _held_image(self, tensor: DeviceTensor, folded: bool | None) -> tuple[Value, bool]:
        """The value of a tensor of the device with the channels last, and whether it is folded."""
        cell, layout = tensor._cell, image_layout(tensor._meta)
        assert layout is not None
        values = cell.values
        value = values.get(layout)
        if value is not None and (folded is not False or layout.last not in values):
            return value, True
        value = values.get(layout.last)
        if value is None and tensor._meta not in values and cell.lazy is None:
            value = cell.device_value(layout.last, None)  # perhaps the channels come last in the storage
        if value is None:
            value = self._turned(self.value(tensor), tensor._meta)
        return value, False

    def _turned(self, value: Value, meta: Meta) -> Value:
        return self._convert((meta, "channels last"), self.tt.permute, value, list(to_last(meta.ndim)))

    def for_channels(
        self, tensor: torch.Tensor, shape: tuple[int, ...], promote_to: torch.dtype | None, exact: bool
    ) -> Value:
        """The device value of a tensor with a number for each channel, perhaps of each image, in a shape."""
        if type(tensor) is DeviceTensor and self.holds(tensor):
            layout = image_layout(tensor._meta)
            if layout in tensor._cell.values or (layout is not None and layout.last in tensor._cell.values):
                value = self.image(tensor, promote_to, exact).value
                same = tuple(value.shape) == shape
                return value if same else self._convert((layout, shape), self.tt.reshape, value, list(shape))
        value = self.value(tensor, promote_to, exact=exact)
        reshaped = partial(self._convert, (tensor.shape, tensor.dtype, shape), self.tt.reshape, value, list(shape))
        with self.device.lock:
            return self.tt.prepared(value, shape, reshaped)

    def fell_back(self, op: Any, refusal: Refusal, floating: bool, call: Callable[[], str]) -> None:
        """Count a call that falls back after all, and warn or raise as `on_fallback` says."""
        self.ledger.tally(op, "host", refusal, floating=floating)
        if floating:
            complain(self.settings, op, refusal, call)

    def indices(
        self,
        argument: Any,
        ready: Callable[[Any], torch.Tensor | None],
        row_major: bool = False,
        carrier: str = "uint32",
    ) -> Any:
        """Upload what `ready` makes from the plain indices; None if an index is out of bounds."""
        is_list = isinstance(argument, (list, tuple))
        plain = ready([None if t is None else self.read(t) for t in argument] if is_list else self.read(argument))
        dtype = torch.float32 if carrier == "float32" else torch.int64
        return None if plain is None else self._uploaded(plain, dtype, carrier, row_major)

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """A plain tensor with the same content, downloaded if need be. Only to be read."""
        return tensor._cell.host_view(tensor._meta) if isinstance(tensor, DeviceTensor) else tensor

    def part(self, tensor: DeviceTensor) -> torch.Tensor:
        """As `read`, but of a storage of which the tensor is a part, only that part is downloaded."""
        cell, meta = tensor._cell, tensor._meta
        if cell.storage is None and meta.nbytes < cell.nbytes and self.holds(tensor):
            value = cell.device_value(meta, tensor._view)
            if value is not None:
                return self.download(value).to(meta.dtype).view(meta.shape)
        return cell.host_view(meta)

    def peek(self, tensor: torch.Tensor) -> torch.Tensor:
        """As `read`, for the session's own purposes: nothing is kept or counted. Only to be read at once."""
        return tensor._cell.peek(tensor._meta) if isinstance(tensor, DeviceTensor) else tensor

    def download(self, value: Value) -> torch.Tensor:
        """Bring a device value to the host, and count it."""
        with self.device.lock:
            start = perf_counter()
            try:
                plain = self.recorder.moved("downloads", self.device.download, value)
            except RefusedByDevice as refused:
                raise_error(refused, lambda: "reading a tensor of the device")
        self.ledger.moved("downloads", plain.nbytes, perf_counter() - start)
        return plain

    def ran_on_host(self, plan: Plan, nbytes: int, results: Iterable[Any]) -> None:
        """Note how many bytes a fallback of the plan downloaded, and its results: they may be uploaded again."""
        plan.bytes_down += nbytes
        for result in results:
            if isinstance(result, DeviceTensor):
                storage = result._cell.storage
            else:
                storage = result.untyped_storage() if isinstance(result, torch.Tensor) and is_plain(result) else None
            if storage is not None:
                gone = partial(self._forget_maker, storage._cdata)
                self._made_by[storage._cdata] = plan, weakref.ref(storage, gone)

    def _forget_maker(self, storage: int, _: Any) -> None:
        self._made_by.pop(storage, None)

    def _constant(self, plain: torch.Tensor, carrier: str, shared: bool) -> Value:
        if not shared:
            return self._uploaded(plain, plain.dtype, carrier, shared=False)
        make = partial(self._upload, plain, carrier, False)
        return self.uploads.find_equal(plain, meta_of(plain), (carrier, False, 0), make, fixed=True)

    def _uploaded(
        self,
        plain: torch.Tensor,
        dtype: torch.dtype,
        carrier: str,
        row_major: bool = False,
        shared: bool = True,
        bits: int = 0,
    ) -> Value:
        """The device value of a host tensor. With `shared`, small tensors with equal content share one upload."""
        meta, form = meta_of(plain), (carrier, row_major, bits)
        value = self.uploads.find(plain, meta, form)
        if value is None:
            make = partial(brought, self, plain, dtype, carrier, row_major, bits)
            of_equal = partial(self.uploads.find_equal, plain, meta, form, make)
            value = self.uploads.upload(plain, meta, form, of_equal if shared else make)
        return value

    def _upload(
        self, plain: torch.Tensor, carrier: str, weight: bool, row_major: bool = False, move: Move | None = None
    ) -> Value:
        """Upload a tensor, and count that. With `move`, that brings the value to the device."""
        if plain.dtype is torch.int64 and carrier == "int32" and not fits_int32(plain):
            raise TooLarge
        with self.device.lock:
            start = perf_counter()
            args = (self.carriers.fitted(plain, carrier), carrier, row_major) if move is None else ()
            with uploading():
                value = self.recorder.moved("uploads", move or self.device.upload, *args)
        self.ledger.moved("weight_uploads" if weight else "uploads", plain.nbytes, perf_counter() - start)
        if self._made_by:
            made_by = self._made_by.get(plain.untyped_storage()._cdata)
            if made_by is not None:
                made_by[0].bytes_up += plain.nbytes
        return value
