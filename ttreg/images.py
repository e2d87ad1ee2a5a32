"""Images as ttnn's convolutions take and give them: channels last, and usually all else folded into rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

from .meta import Meta, intern


@dataclass(frozen=True, eq=False)
class Image:
    """A device value of a tensor (N, C, ...) in ttnn's layout, as lowerings take it and return it.

    `shape` is the shape of the tensor. The value has the shape (1, 1, rows, C), with a row for each place of each
    image, if it is `folded`, and (N, ..., C) if not.
    """

    value: Any
    shape: tuple[int, ...]
    folded: bool = True

    @property
    def dtype(self) -> Any:
        """The ttnn dtype of the value."""
        return self.value.dtype

    def like(self, value: Any) -> Image:
        """An image of as many places, whose values and number of channels are others."""
        return Image(value, (self.shape[0], value.shape[-1], *self.shape[2:]), self.folded)


@dataclass(frozen=True, eq=False)
class ImageLayout:
    """Under what a cell holds the folded value of a tensor (N, C, ...): the counterpart of `Meta`.

    `last` is the tensor's metadata with the channels last, which stands for the value that is not folded.
    """

    tensor: Meta
    last: Meta
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """The tensor's dtype."""
        return self.tensor.dtype


@lru_cache(maxsize=1 << 14)
def image_layout(meta: Meta) -> ImageLayout | None:
    """The layout of a tensor (N, C, ...); None if it is none, or has no elements."""
    if meta.ndim not in (3, 4, 5) or not meta.numel:
        return None
    return ImageLayout(meta, channels_last(meta), rows(meta.shape))


def channels_last(meta: Meta) -> Meta:
    """The metadata of the view with the channels, which are the second dimension, as the last."""
    shape, stride = meta.shape, meta.stride
    last = (shape[0], *shape[2:], shape[1]), (stride[0], *stride[2:], stride[1])
    return intern(meta.dtype, *last, meta.offset)


def rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a folded image."""
    return (1, 1, shape[0] * prod(shape[2:]), shape[1])


def unfolded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an image with the channels last that is not folded."""
    return (shape[0], *shape[2:], shape[1])


def to_last(rank: int) -> tuple[int, ...]:
    """The order of the dimensions in which the second one comes last."""
    return (0, *range(2, rank), 1)
