"""Where the device gives other values than the CPU, and why that is left so: a row of docs/reliability.md each."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Known(NamedTuple):
    """Ops, one of their arguments (`*` for any), what it is given, and why the results differ."""

    ops: str
    argument: str
    kinds: tuple[str, ...]
    reason: str


INFINITIES = ("inf", "-inf", "both infinities")
NOT_FINITE = ("NaN", *INFINITIES)

IN_VECTORS = "PyTorch itself gives one value in vectors of elements and another for single ones"
SPREADS = "a product with a matrix that has zeros, and 0 × NaN is NaN: it reaches the elements beside, too"
FOLDED = (
    "norms subtract products: which is infinite first decides between NaN and an infinity, and CPU kernels fold them"
)
LIMIT = "the CPU multiplies infinity by 0, and gives NaN; the device gives the limit"
RUNNING = "the CPU keeps a running mean, which is NaN after an infinity; the device's is the infinity"
MASKED = "the CPU's fused kernel takes a row of NaN for a masked one, and gives 0; the device gives NaN"
CONVERTED = "the CPU's kernel of volumes converts such places to integers, of which C++ leaves open what comes out"
OF_ANOTHER = "it holds what the forward op gave for the other arguments"
UNSORTED = "boundaries that are not sorted, as PyTorch asks for without looking"
UNCHECKED = "offsets that lie outside, which PyTorch does not check"

KNOWN = (
    *(
        Known(f"{op}_backward", "*", ("NaN",), IN_VECTORS)
        for op in ("elu", "hardshrink", "hardswish", "hardtanh", "softshrink")
    ),
    Known("gelu_backward", "self", INFINITIES, LIMIT),
    Known("_upsample_*_backward", "grad_output", NOT_FINITE, SPREADS),
    Known("upsample_*_backward", "grad_output", NOT_FINITE, SPREADS),
    Known("convolution_backward", "weight", NOT_FINITE, SPREADS),
    Known("native_group_norm*", "*", INFINITIES, FOLDED),
    Known("*batch_norm*", "weight", INFINITIES, FOLDED),
    Known("native_layer_norm_backward", "*", INFINITIES, FOLDED),
    *(Known("*_backward*", name, ("*",), OF_ANOTHER) for name in ("output", "save_*", "saved_*", "mean", "rstd")),
    Known("std_mean", "self", INFINITIES, RUNNING),
    Known("var_mean", "self", INFINITIES, RUNNING),
    Known("_scaled_dot_product_flash_attention_for_cpu", "*", NOT_FINITE, MASKED),
    Known("bucketize", "boundaries", ("NaN",), UNSORTED),
    Known("searchsorted", "sorted_sequence", ("NaN",), UNSORTED),
    Known("grid_sampler_3d", "grid", NOT_FINITE, CONVERTED),
    Known("_grouped_mm", "offs", ("*",), UNCHECKED),
)


def known(op: str, argument: str, kind: str) -> Known | None:
    """The exception that a call is one of; `op` is `native_group_norm` of `aten.native_group_norm.default`."""
    for one in KNOWN:
        of_it = fnmatchcase(op, one.ops) and fnmatchcase(argument, one.argument)
        if of_it and any(fnmatchcase(kind, each) for each in one.kinds):
            return one
    return None
