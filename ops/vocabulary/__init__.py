"""The words that lowerings are written in, beside those of ttnn; docs/adding-an-op.md lists them."""

from .compute import (
    DENORMALS_ARE_ZERO,
    NAN_IS_A_LIMIT,
    NAN_IS_A_NUMBER,
    NAN_IS_LOST,
    accurate,
    chain,
    direct,
    direct_of_two,
    of_reciprocal,
    of_sigmoid,
)
from .dtypes import as_out, by_operand, cast, in_float32, moves_narrow, torch_dtype, widen
from .kept import from_sizes, one_number
from .limits import COUNTABLE, HELD, at_most
from .numbers import BF16, FITS, bfloat16, element, filled, is_number, not_above, number, operand, scaled
from .placement import CPU, MADE, PLACED, placed_elsewhere
from .reductions import product_along, reduce
from .samples import by_number, int32, one_tensor, two_tensors
from .shapes import ROW, around, as_shape, cut, folded, moved_first, moved_last, permuted, permuted_back, shape_of
from .strides import contiguous, first_strides

__all__ = [
    "BF16",
    "COUNTABLE",
    "CPU",
    "DENORMALS_ARE_ZERO",
    "FITS",
    "HELD",
    "MADE",
    "NAN_IS_A_LIMIT",
    "NAN_IS_A_NUMBER",
    "NAN_IS_LOST",
    "PLACED",
    "ROW",
    "accurate",
    "around",
    "as_out",
    "as_shape",
    "at_most",
    "bfloat16",
    "by_number",
    "by_operand",
    "cast",
    "chain",
    "contiguous",
    "cut",
    "direct",
    "direct_of_two",
    "element",
    "filled",
    "first_strides",
    "folded",
    "from_sizes",
    "in_float32",
    "int32",
    "is_number",
    "moved_first",
    "moved_last",
    "moves_narrow",
    "not_above",
    "number",
    "of_reciprocal",
    "of_sigmoid",
    "one_number",
    "one_tensor",
    "operand",
    "permuted",
    "permuted_back",
    "placed_elsewhere",
    "product_along",
    "reduce",
    "scaled",
    "shape_of",
    "torch_dtype",
    "two_tensors",
    "widen",
]
