"""Specs for tensors of values: as they are, promoted, in row-major layout, as weights, or as metadata alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from ..call import Call
from ..carriers import EXACT
from ..conditions import Condition, Rank
from ..meta import Meta
from .promotion import COMMON, Common
from .spec import Arrival, Source, Spec
from .turned import Turned


@dataclass(frozen=True)
class _Values(Arrival):
    dtype: torch.dtype | None = None  # the dtype to cast to; None keeps each tensor's own
    exact: bool = False  # whether it arrives as wide as its dtype, whatever `precision` says
    row_major: bool = False
    block_float: bool = False
    bits: int = 0  # mantissa bits that a product keeps of a weight; 0 keeps all
    on_demand: bool = False  # whether a host tensor comes to the device only when the lowering asks for it
    leading: bool = False

    of_values = True

    def value(self, source: Source, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            # A tensor without elements gets here only if the entry takes it as None.
            return [
                source.value(t, self.dtype, self.row_major, False, self.exact) if t is not None and t.numel() else None
                for t in argument
            ]
        if self.on_demand:
            return source.on_demand(argument, self.dtype, self.row_major, self.exact, self.bits)
        return source.value(argument, self.dtype, self.row_major, self.block_float, self.exact, self.bits)

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        return (EXACT if self.exact else carriers)[self.dtype or dtype]

    def in_images(self, folded: bool) -> Arrival:
        return _AsImage(self, folded)

    def for_channels(self, images: int, folded: bool, rank: int) -> Arrival:
        return _ForChannels(self, images, (1, 1, 1) if folded else (images, *[1] * (rank - 2)))

    def is_as_held(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> bool:
        return not self.row_major and self.carrier(carriers, dtype) == carriers[dtype]


@dataclass(frozen=True)
class _AsImage(Arrival):
    of: _Values
    folded: bool | None = None  # None: as the session holds it

    image = True

    def value(self, source: Source, argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return [self.value(source, tensor) for tensor in argument]
        return source.image(argument, self.of.dtype, self.of.exact, self.of.bits, self.folded)

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        return self.of.carrier(carriers, dtype)


@dataclass(frozen=True)
class Through(Arrival):
    """Arrives as `of` says, unless the session has something easier."""

    of: Arrival

    of_values = True

    @property
    def block_float(self) -> bool:  # type: ignore[override]
        return self.of.block_float

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        return self.of.carrier(carriers, dtype)

    def in_images(self, folded: bool) -> Arrival:
        return self.of.in_images(folded)

    def for_channels(self, images: int, folded: bool, rank: int) -> Arrival:
        return self.of.for_channels(images, folded, rank)

    def is_as_held(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> bool:
        return self.of.is_as_held(carriers, dtype)


@dataclass(frozen=True)
class _PerhapsTurned(Through):
    def value(self, source: Source, argument: Any) -> Any:
        turned = source.turned(argument)
        return self.of.value(source, argument) if turned is None else Turned(turned)


@dataclass(frozen=True)
class _ForChannels(Arrival):
    of: _Values
    images: int
    lead: tuple[int, ...]  # the shape, less the channels

    def value(self, source: Source, argument: Any) -> Any:
        shape = (*self.lead, argument.numel() // self.images)
        return source.for_channels(argument, shape, self.of.dtype, self.of.exact)

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        return self.of.carrier(carriers, dtype)


@dataclass(frozen=True)
class Tensor(Spec):
    """A tensor, or a list of them, in tile layout.

    `images`: in which calls a tensor that the session holds as an image arrives so, as an `Image`. `rank`: how many
    dimensions it may have, with the reason `because`. `row_major`: it arrives in row-major layout, for tensors that
    tiles would make much larger, such as a 3 × 3 kernel. `on_demand`: the lowering only makes something else of it,
    which it keeps with `tt.prepared`: one of the host arrives as `OnDemand`, and does not stay on the device.
    `cast_to`: the name of the argument that gives the dtype in which it arrives.
    """

    rank: tuple[int, ...] | range | None = field(default=None, kw_only=True)
    row_major: bool = field(default=False, kw_only=True)
    on_demand: bool = field(default=False, kw_only=True)
    cast_to: str | None = field(default=None, kw_only=True)
    images: Callable[[Call], bool] | None = field(default=None, kw_only=True)

    @property
    def because_of_dtypes(self) -> str:
        return self.because if self.rank is None else ""

    def arguments(self) -> tuple[str, ...]:
        return (self.cast_to,) if self.cast_to else ()

    def conditions(self, name: str) -> tuple[Condition, ...]:
        return () if self.rank is None else (Rank(name, self.rank, because=self.because),)

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        return _Values(call[self.cast_to] if self.cast_to else dtype, exact, self.row_major, on_demand=self.on_demand)

    def takes_images(self, call: Call) -> bool:
        return self.images is not None and self.images(call)

    def says(self) -> str:
        return ", ".join(
            text
            for text, applies in (
                ("as an image with the channels last where the session holds it so", self.images is not None),
                ("in the common dtype", self.promoted is not None),
                (f"in the dtype that `{self.cast_to}` says", self.cast_to is not None),
                ("in row-major layout", self.row_major),
                ("on the device only while something is made of it", self.on_demand),
                ("without elements as None", self.may_be_empty),
            )
            if applies
        )


# A tensor in tile layout and its own dtype.
PLAIN: Arrival = _Values()


# Explicit float32 mantissa bits that the chip's matrix unit keeps of the first factor and of the second.
_FIRST_BITS, _SECOND_BITS = 10, 9


@dataclass(frozen=True)
class Multiplied(Tensor):
    """A factor that the lowering uses in matrix products only; `first` marks the first factor.

    `leading`: it may arrive with more leading dimensions of 1 than the tensor has, and the result may have them too.
    A float32 parameter arrives rounded to the mantissa bits that the matrix unit keeps. The unit itself would cut them.
    """

    first: bool = field(default=False, kw_only=True)
    leading: bool = field(default=False, kw_only=True)
    # Whether the lowering takes it as `Turned` too, where the session comes by its transposed matrices more easily.
    may_be_turned: bool = field(default=False, kw_only=True)

    @property
    def _bits(self) -> int:
        return _FIRST_BITS if self.first else _SECOND_BITS

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        return self._as_held(_Values(dtype, exact, self.row_major, bits=self._bits, leading=self.leading))

    def _as_held(self, values: _Values) -> Arrival:
        return _PerhapsTurned(values) if self.may_be_turned else values

    def says(self) -> str:
        rounded = f"rounded to {self._bits} bits of mantissa if a float32 weight"
        leading = "perhaps with more leading dimensions of 1" if self.leading else ""
        return ", ".join(filter(None, (super().says(), rounded, leading)))


@dataclass(frozen=True)
class ChannelsLast(Multiplied):
    """A factor (N, C, ...) that arrives as an `Image`, with the channels last, however the session holds it."""

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        return _AsImage(_Values(dtype, exact, bits=self._bits))

    def says(self) -> str:
        return ", ".join(filter(None, (super().says(), "as an image with the channels last")))


@dataclass(frozen=True)
class Weight(Multiplied):
    """A factor as above. A parameter arrives in the block float that the user chose for it (`ttreg.carry_in`)."""

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        values = _Values(
            dtype,
            exact,
            self.row_major,
            block_float=not self.row_major,
            bits=self._bits,
            on_demand=self.on_demand,
        )
        return self._as_held(values)

    def says(self) -> str:
        block_float = "" if self.row_major else "in a block float if the user asks for one"
        return ", ".join(filter(None, (super().says(), block_float)))


@dataclass(frozen=True)
class Factor(Tensor):
    """A promoted tensor. If it has no dimensions, PyTorch's kernel reads it as a number.

    Such a tensor arrives in float32 if the common dtype is bfloat16. `name`: the argument's own name.
    """

    name: str = field(kw_only=True)

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        value = call[self.name]
        number = dtype is torch.bfloat16 and isinstance(value, Meta) and not value.ndim
        return _Values(torch.float32 if number else dtype, exact, self.row_major)

    def says(self) -> str:
        return f"{super().says()}, without dimensions in float32 beside bfloat16"


@dataclass(frozen=True)
class Shape(Spec):
    """A tensor whose values the lowering does not need: it is not uploaded, and arrives as `Meta`."""

    arrives: ClassVar[bool] = False

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        raise TypeError("the values of this argument do not arrive")

    def says(self) -> str:
        return "as metadata: its values are not read"


def together(
    names: Iterable[str],
    dtypes: tuple[torch.dtype, ...] | None,
    *,
    because: str = "",
    int_to_float: Callable[[Call], bool] | None = None,
    may_be_empty: bool = False,
    factor: str = "",
    images: Callable[[Call], bool] | None = None,
) -> dict[str, Spec]:
    """The specs of arguments, tensors or numbers, that are cast to their common dtype; see `Common` and `Tensor`.

    The argument that `factor` names gets the spec `Factor`.
    """
    common = Common(int_to_float) if int_to_float is not None else COMMON

    def spec(name: str) -> Spec:
        if name == factor:
            return Factor(dtypes, because=because, promoted=common, may_be_empty=may_be_empty, name=name)
        return Tensor(dtypes, because=because, promoted=common, may_be_empty=may_be_empty, images=images)

    return {name: spec(name) for name in names}
