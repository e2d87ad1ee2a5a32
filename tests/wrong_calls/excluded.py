"""Calls that are not compared, with the reason: mostly those of which PyTorch itself leaves open what comes out."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from torch._ops import OpOverload

from .variations import CHANGES, VALUES, Variation

SHAPES = tuple(name for name in CHANGES if name not in VALUES)


class Excluded(NamedTuple):
    """Changes of an argument of some ops, `*` for any, and why they are not compared."""

    ops: str
    argument: str
    changes: tuple[str, ...]
    reason: str


UNCHECKED = "its kernel reads memory by the sizes of another argument, and checks nothing: the caller does"
ITS_OWN = "it holds what the forward op gave for the other arguments: what else it holds is used in another way"
UNSORTED = "the boundaries are no longer sorted, as PyTorch asks for without looking"
ANY_ORDER = "which of equal elements comes first, or which order they are in, is left open by PyTorch"
AT_THE_LIMIT = "a rounding of the exponent is many roundings of the result, which is near float32's largest number"
NOTHING_LEFT = "equal elements less their mean are nothing but roundings"
BEYOND = "by a scale that the sizes do not agree with, PyTorch reads memory beyond the image, and multiplies it by 0"
ROUNDED_SUMS = "in bfloat16 PyTorch rounds its sum of losses after each: it is off by more than the device's is"

EXCLUDED = (
    Excluded("_scaled_dot_product_flash_attention_for_cpu*", "*", SHAPES, UNCHECKED),
    Excluded("_scaled_dot_product_flash_attention_for_cpu_backward", "logsumexp", ("*",), ITS_OWN),
    Excluded("_upsample_*_aa", "scales_*", ("*",), BEYOND),
    Excluded("_upsample_*_aa", "output_size", ("*100",), BEYOND),
    Excluded("_upsample_*_aa", "self", ("transposed", "one of *"), BEYOND),
    Excluded("segment_reduce", "data", SHAPES, UNCHECKED),
    Excluded("segment_reduce", "lengths", (*SHAPES, *VALUES), UNCHECKED),
    Excluded("segment_reduce", "offsets", (*SHAPES, *VALUES), UNCHECKED),
    Excluded("_reshape_alias", "*", (*SHAPES, "*"), UNCHECKED),
    Excluded("*_batch_norm*", "*", SHAPES, UNCHECKED),
    Excluded("native_group_norm", "*", (*SHAPES, "*"), UNCHECKED),
    Excluded("_log_softmax_backward_data", "*", SHAPES, UNCHECKED),
    Excluded("*max_pool*_backward", "*", (*SHAPES, *VALUES, "*"), ITS_OWN),
    Excluded("log_sigmoid_backward", "*", (*SHAPES, *VALUES), ITS_OWN),
    Excluded("nll_loss2d_forward", "weight", ("None", *VALUES), ROUNDED_SUMS),
    Excluded("nll_loss2d_forward", "target", VALUES, ROUNDED_SUMS),
    Excluded("nll_loss2d_forward", "ignore_index", ("0", "2"), ROUNDED_SUMS),
    Excluded("bucketize", "boundaries", ("*",), UNSORTED),
    Excluded("searchsorted", "sorted_sequence", ("*",), UNSORTED),
    Excluded("topk", "sorted", ("*",), ANY_ORDER),
    Excluded("topk", "self", ("expanded", *VALUES), ANY_ORDER),
    Excluded("logspace", "*", ("of 100", "100"), AT_THE_LIMIT),
    Excluded("*_norm*", "input", VALUES, NOTHING_LEFT),
)


def reason_to_exclude(op: OpOverload, variation: Variation) -> str:
    """Why the call is not compared; nothing if it is."""
    name = op._schema.name.partition("::")[2]
    for excluded in EXCLUDED:
        of_it = fnmatchcase(name, excluded.ops) and fnmatchcase(variation.name, excluded.argument)
        if of_it and any(fnmatchcase(variation.what, change) for change in excluded.changes):
            return excluded.reason
    return ""
