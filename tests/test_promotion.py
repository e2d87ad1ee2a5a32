"""Type promotion is PyTorch's own."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._prims_common import ELEMENTWISE_TYPE_PROMOTION_KIND, elementwise_dtypes

from ttreg.meta import meta_of
from ttreg.specs.promotion import promoted

DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128),
)
TENSORS = st.builds(
    lambda dtype, shape: torch.zeros(shape, dtype=dtype), st.sampled_from(DTYPES), st.sampled_from([(), (2,)])
)
NUMBERS = st.sampled_from([True, 3, 2.5, 1j])


@settings(deadline=None, max_examples=500, derandomize=True)
@given(st.lists(TENSORS | NUMBERS, min_size=1, max_size=4))
def test_it_is_pytorchs(operands):
    expected = elementwise_dtypes(*operands, type_promotion_kind=ELEMENTWISE_TYPE_PROMOTION_KIND.DEFAULT)[1]
    assert promoted(meta_of(o) if isinstance(o, torch.Tensor) else o for o in operands) is expected


@settings(max_examples=300, derandomize=True)
@given(TENSORS, TENSORS | NUMBERS)
def test_it_is_what_results_have(tensor, other):
    second = meta_of(other) if isinstance(other, torch.Tensor) else other
    assert promoted([meta_of(tensor), second]) is torch.result_type(tensor, other)
