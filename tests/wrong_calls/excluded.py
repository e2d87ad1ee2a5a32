"""Calls that are not compared, with the reason: mostly those of which PyTorch itself leaves open what comes out."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch._ops import OpOverload
from torch.utils._python_dispatch import _disable_current_modes

from .undefined import (
    Arguments,
    beyond_storage,
    buffer_of_another,
    heads_that_do_not_fit,
    no_such_mode,
    output_of_another_shape,
    outside_of_windows,
    parameter_too_short,
    unsorted,
    window_beyond_the_end,
)
from .variations import CHANGES, VALUES, Variation

SHAPES = tuple(name for name in CHANGES if name not in VALUES)


class Excluded(NamedTuple):
    """Changes of an argument of some ops, `*` for any, and why they are not compared; `when` says which of them."""

    ops: str
    argument: str
    changes: tuple[str, ...]
    reason: str
    when: Callable[[Arguments], bool] = lambda arguments: True


UNCHECKED = "its kernel reads memory by the sizes of another argument, and checks nothing: the caller does"
ITS_OWN = "it holds what the forward op gave for the other arguments: what else it holds is used in another way"
UNSORTED = "the boundaries are no longer sorted, as PyTorch asks for without looking"
AT_THE_LIMIT = "a rounding of the exponent is many roundings of the result, which is near float32's largest number"
NOTHING_LEFT = "equal elements less their mean are nothing but roundings"
UNWRITTEN = "without images it writes nothing, and gives the memory of its output as it was"
NO_MODE = "in a mode that it does not have it writes nothing, and gives the memory of its output as it was"
BEYOND = "by a scale that the sizes do not agree with, PyTorch reads memory beyond the image, and multiplies it by 0"

EXCLUDED = (
    Excluded("_scaled_dot_product_flash_attention_for_cpu*", "*", ("*",), UNCHECKED, heads_that_do_not_fit),
    Excluded("_scaled_dot_product_flash_attention_for_cpu_backward", "query", ("of 100",), ITS_OWN),
    Excluded("_scaled_dot_product_flash_attention_for_cpu_backward", "key", ("of 100",), ITS_OWN),
    Excluded("_scaled_dot_product_flash_attention_for_cpu_backward", "logsumexp", ("*",), ITS_OWN),
    Excluded("_adaptive_avg_pool?d_backward", "*", SHAPES, UNCHECKED),
    Excluded("avg_pool3d_backward", "*", SHAPES, UNCHECKED),
    *(
        Excluded("avg_pool3d_backward", name, ("*",), UNCHECKED)
        for name in ("kernel_size", "stride", "padding", "ceil_mode")
    ),
    Excluded("segment_reduce", "data", SHAPES, UNCHECKED),
    Excluded("segment_reduce", "lengths", (*SHAPES, *VALUES), UNCHECKED),
    Excluded("segment_reduce", "offsets", (*SHAPES, *VALUES), UNCHECKED),
    Excluded("_upsample_bilinear2d_aa", "*", ("*",), BEYOND, window_beyond_the_end(1)),
    Excluded("_upsample_bicubic2d_aa", "*", ("*",), BEYOND, window_beyond_the_end(2)),
    Excluded("_reshape_alias", "*", ("*",), UNCHECKED, beyond_storage),
    Excluded("*batch_norm*", "*", ("*",), UNCHECKED, parameter_too_short),
    Excluded("re*_pad?d_backward", "*", SHAPES, UNCHECKED),
    Excluded("re*_pad?d_backward", "padding", ("no element",), UNCHECKED),
    Excluded("_weight_norm_interface*", "*", SHAPES, UNCHECKED),
    Excluded("_weight_norm_interface*", "dim", ("*",), UNCHECKED),
    Excluded("native_group_norm", "N", ("0",), UNWRITTEN),
    Excluded("*_norm_backward", "*", SHAPES, UNCHECKED),
    *(
        Excluded("*_norm_backward", name, ("*",), UNCHECKED)
        for name in ("normalized_shape", "N", "C", "HxW", "group", "output_mask")
    ),
    Excluded("grid_sampler_*", "*", ("*",), NO_MODE, no_such_mode),
    Excluded("_log_softmax_backward_data", "*", ("*",), UNCHECKED, output_of_another_shape),
    Excluded("max_pool2d_with_indices_backward", "*", ("*",), ITS_OWN, outside_of_windows(2)),
    Excluded("max_pool3d_with_indices_backward", "*", ("*",), ITS_OWN, outside_of_windows(3)),
    Excluded("adaptive_max_pool?d_backward", "indices", ("*",), UNCHECKED),
    Excluded("adaptive_max_pool?d_backward", "*", SHAPES, UNCHECKED),
    Excluded("unfold_backward", "*", SHAPES, UNCHECKED),
    *(Excluded("unfold_backward", name, ("*",), UNCHECKED) for name in ("input_sizes", "dim", "size", "step")),
    Excluded("log_sigmoid_backward", "*", ("*",), ITS_OWN, buffer_of_another),
    Excluded("bucketize", "*", ("*",), UNSORTED, unsorted("boundaries")),
    Excluded("searchsorted", "*", ("*",), UNSORTED, unsorted("sorted_sequence", "sorter")),
    Excluded("logspace", "*", ("of 100", "100"), AT_THE_LIMIT),
    Excluded("logspace", "start", ("uint8",), AT_THE_LIMIT),
    Excluded("*_norm*", "input", VALUES, NOTHING_LEFT),
)


def reason_to_exclude(op: OpOverload, variation: Variation) -> str:
    """Why the call is not compared; nothing if it is."""
    name = op._schema.name.partition("::")[2]
    for excluded in EXCLUDED:
        of_it = fnmatchcase(name, excluded.ops) and fnmatchcase(variation.name, excluded.argument)
        if not of_it or not any(fnmatchcase(variation.what, change) for change in excluded.changes):
            continue
        with _disable_current_modes():
            if excluded.when(variation.arguments):
                return excluded.reason
    return ""
