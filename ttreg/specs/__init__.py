"""Argument specs. One object per argument says its dtypes, how its value arrives, and how both are shown."""

from .entry import Taken, Takes, conditions_of, specs_of
from .indices import Ignoring, Index, Indices, Places, Row, Rows, Segments
from .promotion import COMMON, Common
from .spec import Arrival, Source, Spec
from .tensor import PLAIN, ChannelsLast, Factor, Multiplied, Shape, Tensor, Through, Weight, together
from .turned import Turned

__all__ = [
    "COMMON",
    "PLAIN",
    "Arrival",
    "ChannelsLast",
    "Common",
    "Factor",
    "Ignoring",
    "Index",
    "Indices",
    "Multiplied",
    "Places",
    "Row",
    "Rows",
    "Segments",
    "Shape",
    "Source",
    "Spec",
    "Taken",
    "Takes",
    "Tensor",
    "Through",
    "Turned",
    "Weight",
    "conditions_of",
    "specs_of",
    "together",
]
