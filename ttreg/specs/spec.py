"""The base classes: `Spec` says what an entry takes for one argument, `Arrival` how its value reaches the lowering."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch

from ..call import Call
from ..conditions import Condition
from .promotion import Common


class Source(Protocol):
    """Where an argument's device value comes from: a session."""

    def value(
        self,
        tensor: torch.Tensor,
        promote_to: torch.dtype | None = None,
        row_major: bool = False,
        block_float: bool = False,
        exact: bool = False,
        bits: int = 0,
    ) -> Any:
        """The device value of a tensor."""

    def on_demand(
        self, tensor: torch.Tensor, promote_to: torch.dtype | None, row_major: bool, exact: bool, bits: int
    ) -> Any:
        """The device value of a tensor, or a weight that is brought to the device when it is asked for."""

    def image(
        self,
        tensor: torch.Tensor,
        promote_to: torch.dtype | None = None,
        exact: bool = False,
        bits: int = 0,
        folded: bool | None = None,
    ) -> Any:
        """The device value of a tensor as an `Image`, which is folded or not as it is held, or as `folded` says."""

    def turned(self, tensor: torch.Tensor) -> Any:
        """The device value of a tensor with its last two dimensions swapped, if that takes fewer ttnn calls."""

    def for_channels(
        self, tensor: torch.Tensor, shape: tuple[int, ...], promote_to: torch.dtype | None, exact: bool
    ) -> Any:
        """The device value of a tensor with a number for each channel, in a shape."""

    def indices(
        self,
        argument: Any,
        ready: Callable[[Any], torch.Tensor | None],
        row_major: bool = False,
        carrier: str = "uint32",
    ) -> Any:
        """Upload what `ready` makes from the indices on the host, as uint32 by default; None if `ready` gives None."""


class Arrival:
    """How an argument's value reaches the lowering, for all calls of one signature."""

    row_major = False
    block_float = False
    checked = False  # whether the host reads the values first; the device value does not show them
    image = False  # whether it arrives as an `Image`
    leading = False  # whether it may arrive with more leading dimensions of 1, which the result then has too
    of_values = False  # whether it may arrive in other layouts too: as an image, or beside one

    def value(self, source: Source, argument: Any) -> Any:
        """What the lowering gets; None if the host finds the argument wrong, so that the call falls back."""
        raise NotImplementedError

    def carrier(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> str:
        """The name of the ttnn dtype in which a tensor of this dtype arrives."""
        raise NotImplementedError

    def in_images(self, folded: bool) -> Arrival:
        """The same, as an image, if it is an arrival `of_values`."""
        raise NotImplementedError

    def for_channels(self, images: int, folded: bool, rank: int) -> Arrival:
        """The same, beside an image: the tensor has a number for each channel of so many images, or of all."""
        raise NotImplementedError

    def is_as_held(self, carriers: Mapping[torch.dtype, str], dtype: torch.dtype) -> bool:
        """Whether a device tensor of this dtype arrives without conversion."""
        return False


@dataclass(frozen=True)
class Spec:
    """What an entry takes for one argument. A subclass says how it arrives.

    `dtypes` are the dtypes that the device takes, for the reason `because`. None leaves that to the entry's conditions.
    """

    dtypes: tuple[torch.dtype, ...] | None = None
    because: str = field(default="", kw_only=True)

    # Whether `dtypes` speaks of the program's own dtype, and not of the dtype that carries it.
    program_dtype: bool = field(default=False, kw_only=True)
    # Whether the argument's values reach the lowering; if not, its metadata does.
    arrives: ClassVar[bool] = True
    # Whether the host checks the values before a lowering gets them.
    checked: ClassVar[bool] = False
    # Whether a tensor without elements arrives, as None.
    may_be_empty: bool = field(default=False, kw_only=True)
    # The common dtype to which this argument is cast, together with others.
    promoted: Common | None = field(default=None, kw_only=True)

    @property
    def because_of_dtypes(self) -> str:
        """Why the argument takes these dtypes."""
        return self.because

    def arguments(self) -> tuple[str, ...]:
        """The schema names of other arguments that decide how this one arrives."""
        return ()

    def conditions(self, name: str) -> tuple[Condition, ...]:
        """The spec's conditions on the argument, beside its dtypes."""
        return ()

    def arrival(self, call: Call, dtype: torch.dtype | None, exact: bool) -> Arrival:
        """How the argument arrives in such a call.

        If it is promoted, `dtype` is the common dtype, and `exact` tells whether the device must not narrow that dtype.
        """
        raise NotImplementedError

    def takes_images(self, call: Call) -> bool:
        """Whether a tensor that is held as an image arrives so in such a call; any other arrives as ever."""
        return False

    def says(self) -> str:
        """How the argument arrives, for a reader of the entry; empty if there is nothing to say."""
        return ""
