"""Gradients of PyTorch's own operator tests, of first and second order, are on the device what they are on CPU."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten as flatten
from torch.utils._pytree import tree_leaves, tree_unflatten

import ttreg

from .cases import Case, Invocation, cases
from .outcome import difference, host_copy, outcome
from .test_values import on_device

SECOND_ORDER = 3  # samples of each op, since they cost several times as much


@dataclass(frozen=True)
class Gradients:
    """Calls an op and gives the gradients of its results, for fixed random cotangents, by the inputs that have one."""

    op: Callable[..., Any]
    of_results: Callable[[Any], Any]  # the sample's own choice of what to differentiate
    wanted: list[bool]  # by leaf of the arguments
    order: int

    def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        leaves, structure = flatten((args, kwargs))
        inputs = []
        for leaf, wanted in zip(leaves, self.wanted, strict=True):
            if wanted:
                inputs.append(leaf.requires_grad_())
        args, kwargs = tree_unflatten(leaves, structure)
        generator = torch.Generator().manual_seed(5)
        results = tree_leaves(self.of_results(self.op(*args, **kwargs)))
        found: list[Any] = []
        for order in range(1, self.order + 1):
            results = [r for r in results if isinstance(r, torch.Tensor) and r.requires_grad]
            if not results:
                break
            cotangents = [torch.randn(r.shape, dtype=r.dtype, generator=generator) for r in results]
            more = order < self.order
            results = list(torch.autograd.grad(results, inputs, cotangents, allow_unused=True, create_graph=more))
            found += results
        # A zero that PyTorch keeps without memory is given some, so that it can be looked at.
        return [r.clone() if isinstance(r, torch.Tensor) and r._is_zerotensor() else r for r in found]


class _Nothing(TorchDispatchMode):
    """PyTorch's C++ has formulas for gradients that it takes where any mode is active (`isTensorSubclassLike`).

    They give the same values as the usual ones, but strides, and what is a constant, can differ: of `prod`, say.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def samples(case: Case) -> Iterator[Invocation]:
    """Each sample of the op, and some of them once more in second order."""
    found = list(case.info.sample_inputs("cpu", case.dtype, requires_grad=True))
    twice = set(random.Random(str(case)).sample(range(len(found)), min(SECOND_ORDER, len(found))))
    for number, sample in enumerate(found):
        args, kwargs = (sample.input, *sample.args), sample.kwargs
        wanted = [isinstance(leaf, torch.Tensor) and leaf.requires_grad for leaf in tree_leaves((args, kwargs))]
        order = 2 if number in twice and case.info.supports_gradgrad else 1
        function = Gradients(case.info.op, sample.output_process_fn_grad, wanted, order)
        yield Invocation(f"sample {number}, order {order}", function, args, kwargs)


# Every other sample's inputs lie on the device, the others' on the host.
@pytest.mark.parametrize("case", cases(wanted=lambda info: info.supports_autograd, dtypes=(torch.float32,)))
def test_gradients_as_on_cpu(case):
    found = []
    for number, call in enumerate(samples(case)):
        expected = outcome(call, host_copy, read=lambda tensor: tensor)
        with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
            given = outcome(call, on_device(session) if number % 2 else host_copy, session.read, expected)
            computed_in = case.dtype if session.report().totals.device else None
        differs = difference(given, expected, computed_in)
        if differs:
            with _Nothing():
                expected = outcome(call, host_copy, read=lambda tensor: tensor)
            differs = difference(given, expected, computed_in)
        if differs:
            found.append(f"{call.form}: {differs}")
    assert not found, "\n".join(found)
