"""The measures by which results are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ttreg.checking.compare import Statistics, differences, largest_difference, largest_ulps, pcc

INF, NAN = float("inf"), float("nan")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)

PCC = [
    ([], [], 1.0),
    ([1.0], [1.0], 1.0),
    ([1.0], [2.0], 0.0),
    ([3.0, 3.0], [3.0, 3.0], 1.0),
    ([3.0, 3.0], [3.0, 3.00001], 1.0),
    ([3.0, 3.0], [3.0, 3.1], 0.0),
    ([0.0, 0.0], [1.0, 1.0], 0.0),
    ([1.0, 2.0], [2.0, 2.0], 0.0),
    ([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1.0),
    ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
    ([NAN, 1.0, 2.0], [NAN, 1.0, 2.0], 1.0),
    ([NAN, 1.0, 2.0], [1.0, NAN, 2.0], 0.0),
    ([INF, 1.0, 2.0], [INF, 1.0, 2.0], 1.0),
    ([INF, 1.0, 2.0], [-INF, 1.0, 2.0], 0.0),
    ([INF, 1.0, 2.0], [NAN, 1.0, 2.0], 0.0),
    ([INF, INF], [INF, INF], 1.0),
    ([NAN, NAN], [NAN, NAN], 1.0),
]


@pytest.mark.parametrize(("a", "b", "expected"), PCC)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pcc_is_defined_for_every_pair(a, b, expected, dtype):
    if dtype is torch.bfloat16 and b == [3.0, 3.1]:
        b = [3.0, 3.5]  # a bfloat16 has three digits
    found = pcc(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype))
    assert found == pytest.approx(expected, abs=1e-9)
    assert pcc(torch.tensor(b, dtype=dtype), torch.tensor(a, dtype=dtype)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.uint8, torch.int64])
def test_constant_integers_have_to_be_equal(dtype):
    ones, zeros = torch.ones(4, dtype=dtype), torch.zeros(4, dtype=dtype)
    assert (pcc(ones, ones), pcc(ones, zeros)) == (1.0, 0.0)
    assert (largest_difference(ones, zeros), largest_ulps(ones, zeros)) == (1.0, 1.0)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=2, max_size=20))
def test_pcc_is_numpys_where_that_has_one(pairs):
    a, b = torch.tensor(pairs, dtype=torch.float32).double().T
    with np.errstate(all="ignore"):
        expected = np.corrcoef(a.numpy(), b.numpy())[0, 1]
    if np.isfinite(expected) and a.std() > 1e-30 and b.std() > 1e-30:
        assert pcc(a, b) == pytest.approx(expected, abs=1e-6)


@given(FLOATS, st.integers(0, 50), st.booleans())
def test_ulps_count_the_steps_between_neighbours(value, steps, upwards):
    other = np.float32(value)
    for _ in range(steps):
        other = np.nextafter(other, np.float32(INF if upwards else -INF))
    if np.isfinite(other):
        a, b = torch.tensor([value, 1.0]), torch.tensor([float(other), 1.0])
        assert largest_ulps(a, b) == steps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_step_of_each_dtype_is_one_ulp(dtype):
    eps = torch.finfo(dtype).eps
    one, next_one = torch.tensor([1.0], dtype=dtype), torch.tensor([1 + eps], dtype=dtype)
    assert largest_ulps(one, next_one) == largest_ulps(-one, -next_one) == 1
    assert largest_ulps(torch.tensor([0.0], dtype=dtype), torch.tensor([-0.0], dtype=dtype)) == 0


def test_differences_know_what_is_not_finite():
    a, b = torch.tensor([[1.0, NAN, INF], [-INF, NAN, 2.0]]), torch.tensor([[1.5, NAN, INF], [INF, 1.0, -INF]])
    assert differences(a, b).tolist() == [[0.5, 0, 0], [INF, INF, INF]]
    assert largest_difference(a, b) == largest_ulps(a, b) == INF
    assert largest_difference(a, a) == largest_ulps(a, a) == 0
    assert largest_difference(a[:0], b[:0]) == largest_ulps(a[:0], b[:0]) == 0


def test_statistics_are_of_the_finite_values():
    found = Statistics.of(torch.tensor([[1.0, NAN, INF], [3.0, -INF, NAN]]))
    assert (found.least, found.largest, found.mean, found.std) == (1, 3, 2, 1)
    assert (found.nans, found.infinities) == (2, 2)
    for empty in (torch.empty(0, 3), torch.tensor([NAN, INF])):
        assert math.isnan(Statistics.of(empty).mean)
